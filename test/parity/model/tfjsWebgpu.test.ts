import { afterAll, beforeAll, describe } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { createTfjsWebgpu, isTfjsRequired, whyUnavailable } from '../webgpu.ts';
import { modelSuite } from './modelSuite.ts';

const unavailable = await whyUnavailable(createTfjsWebgpu, isTfjsRequired);
if (unavailable !== undefined) process.stdout.write(`tfjs webgpu: model suite not run: ${unavailable}\n`);

describe.runIf(unavailable === undefined)('on a GPU', () => {
  /** Held for as long as the tests run, each with an engine of its own: the device keeps its compiled kernels. */
  let device: Engine | undefined;
  beforeAll(async () => {
    device = await createTfjsWebgpu();
  });
  afterAll(async () => device?.dispose());

  modelSuite('tfjs webgpu', createTfjsWebgpu, { poolFollowsTiming: true });
});
