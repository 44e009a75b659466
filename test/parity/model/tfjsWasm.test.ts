import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { generationSuite } from './generationSuite.ts';
import { modelSuite } from './modelSuite.ts';

modelSuite('tfjs wasm', () => createTfjsEngine({ deviceKind: 'wasm' }));
generationSuite('tfjs wasm', () => createTfjsEngine({ deviceKind: 'wasm' }));
