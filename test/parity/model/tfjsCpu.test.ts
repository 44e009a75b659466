import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import { encoderDecoderSuite } from './encoderDecoderSuite.ts';
import { generationSuite } from './generationSuite.ts';
import { modelSuite } from './modelSuite.ts';
import { policySuite } from './policySuite.ts';
import { preferenceSuite } from './preferenceSuite.ts';

modelSuite('tfjs cpu', () => createTfjsEngine({ deviceKind: 'cpu' }));
generationSuite('tfjs cpu', () => createTfjsEngine({ deviceKind: 'cpu' }));
preferenceSuite('tfjs cpu', () => createTfjsEngine({ deviceKind: 'cpu' }));
policySuite('tfjs cpu', () => createTfjsEngine({ deviceKind: 'cpu' }));
encoderDecoderSuite('tfjs cpu', () => createTfjsEngine({ deviceKind: 'cpu' }), { brief: true });
