import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { modelSuite } from './modelSuite.ts';

modelSuite('tfjs cpu', () => createTfjsEngine({ device: 'cpu' }));
