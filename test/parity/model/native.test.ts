import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { encoderDecoderSuite } from './encoderDecoderSuite.ts';
import { generationSuite } from './generationSuite.ts';
import { modelSuite } from './modelSuite.ts';
import { policySuite } from './policySuite.ts';
import { preferenceSuite } from './preferenceSuite.ts';

modelSuite('native', async () => createNativeEngine({ threads: 2 }));
generationSuite('native', async () => createNativeEngine({ threads: 2 }));
preferenceSuite('native', async () => createNativeEngine({ threads: 2 }));
policySuite('native', async () => createNativeEngine({ threads: 2 }));
encoderDecoderSuite('native', async () => createNativeEngine({ threads: 2 }));
