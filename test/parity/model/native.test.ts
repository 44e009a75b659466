import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { generationSuite } from './generationSuite.ts';
import { modelSuite } from './modelSuite.ts';

modelSuite('native', async () => createNativeEngine({ threads: 2 }));
generationSuite('native', async () => createNativeEngine({ threads: 2 }));
