import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { generationSuite } from './generationSuite.ts';
import { modelSuite } from './modelSuite.ts';

modelSuite('tfjs wasm', () => createTfjsEngine({ device: 'wasm' }));
generationSuite('tfjs wasm', () => createTfjsEngine({ device: 'wasm' }));
