import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { generationSuite } from './generationSuite.ts';
import { modelSuite } from './modelSuite.ts';
import { preferenceSuite } from './preferenceSuite.ts';

modelSuite('tfjs wasm', () => createTfjsEngine({ deviceKind: 'wasm' }));
generationSuite('tfjs wasm', () => createTfjsEngine({ deviceKind: 'wasm' }));
preferenceSuite('tfjs wasm', () => createTfjsEngine({ deviceKind: 'wasm' }));
