import { describe } from 'vitest';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { whyUnavailable } from '../webgpu.ts';
import { encoderDecoderSuite } from './encoderDecoderSuite.ts';
import { generationSuite } from './generationSuite.ts';
import { modelSuite } from './modelSuite.ts';
import { policySuite } from './policySuite.ts';
import { preferenceSuite } from './preferenceSuite.ts';

const unavailable = await whyUnavailable(createWebgpuEngine);
if (unavailable !== undefined) process.stdout.write(`webgpu: model suite not run: ${unavailable}\n`);

describe.runIf(unavailable === undefined)('on a GPU', () => {
  modelSuite('webgpu', createWebgpuEngine, { oneEngine: true });
  generationSuite('webgpu', createWebgpuEngine);
  preferenceSuite('webgpu', createWebgpuEngine);
  policySuite('webgpu', createWebgpuEngine);
  encoderDecoderSuite('webgpu', createWebgpuEngine);
});
