import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { modelSuite } from './modelSuite.ts';

modelSuite('tfjs wasm', () => createTfjsEngine({ device: 'wasm' }));
