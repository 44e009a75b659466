import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { kernelSuite } from './kernelSuite.ts';

kernelSuite('tfjs wasm', () => createTfjsEngine({ deviceKind: 'wasm' }));
