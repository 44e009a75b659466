/** A worker that computes on a GPU and one that computes on the processor cannot share a ring: the run says so, and names both. */
import { expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { engines } from '../../../src/engine/engines.ts';
import type { EngineTable } from '../../../src/engine/registry.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { runInMemory } from '../../engines/runInMemory.ts';
import { whyUnavailable } from '../webgpu.ts';

const unavailable = await whyUnavailable(createWebgpuEngine);

/** A machine on which `auto` takes the GPU, which it never does where that is a software driver. */
const withGpu: EngineTable = { webgpu: { ...engines.webgpu, presence: async () => ({ found: 'a GPU is available' }) } };
const withoutGpu: EngineTable = { native: engines.native };

it.skipIf(unavailable !== undefined)(
  'refuses a native and a webgpu worker in one ring, and says what to do',
  async () => {
    const config = configSchema.parse({
      model: { blockSize: 8, nLayer: 1, nHead: 1, nEmbd: 4, dropout: 0 },
      train: { globalBatchSize: 2, microBatchSize: 1, maxSteps: 2, workers: 2 },
      eval: { everySteps: 0 },
      engine: { name: 'auto' },
    });
    const message = await runInMemory(config, [withoutGpu, withGpu]).then(
      () => 'the run ended',
      (error: Error) => error.message,
    );
    const [gpu, cpu] = ['webgpu .+ \\(gpu, float32\\)', 'native \\w+ \\(cpu, float32\\)'];
    expect(message).toMatch(
      new RegExp(`it computes on (${gpu}, worker local-\\d .+ on ${cpu}|${cpu}, worker local-\\d .+ on ${gpu})`),
    );
    expect(message).toContain('each engine rounds the update in its own way or lays out the gradients differently');
    expect(message).toContain('use the same engine everywhere');
  },
);
