/** Training steps of the webgpu engine: the losses of the native engine, and nothing but kernels on the device. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { type Batch, samplesOf } from '../../../src/base/batch.ts';
import { meansOf } from '../../../src/base/sums.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { Commands } from '../../../src/engine/webgpu/commands.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { Trainer } from '../../../src/model/training.ts';
import { targetsOf } from '../../../src/task/nextToken.ts';
import { whyUnavailable } from '../webgpu.ts';
import { fixtureTraining } from './pytorchFixtures.ts';
import { dropoutSource, randomBatch, tinyConfig } from './tinyModels.ts';

const config: Gpt2Config = {
  ...tinyConfig,
  vocabSize: 65,
  blockSize: 32,
  nLayer: 2,
  nHead: 4,
  nEmbd: 64,
  dropout: 0.1,
};
const unavailable = await whyUnavailable(createWebgpuEngine);
if (unavailable !== undefined) process.stdout.write(`webgpu: training not run: ${unavailable}\n`);

describe.runIf(unavailable === undefined)('training on a GPU', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createWebgpuEngine();
  });
  afterAll(async () => engine?.dispose());

  it('ten steps with dropout, in microbatches, have the losses and norms of the native engine', async () => {
    const native = createNativeEngine({ threads: 2 });
    const expected = await stepsOf(native, 10);
    await native.dispose();
    for (const [step, { loss, gradNorm }] of (await stepsOf(engine, 10)).entries()) {
      expect(Math.abs(loss / expected[step]!.loss - 1), `loss of step ${step + 1}`).toBeLessThan(1e-4);
      expect(Math.abs(gradNorm / expected[step]!.gradNorm - 1), `norm of step ${step + 1}`).toBeLessThan(1e-3);
    }
    expect(expected[9]!.loss).toBeLessThan(expected[0]!.loss);
  });

  it.each([{}, { dropout: 0, activation: 'relu' as const, tiedHead: false, bias: false }])(
    'a step copies nothing within the device: %o',
    async (options) => {
      const trainer = new Trainer(engine, { ...config, ...options }, { seed: 3 });
      const copy = vi.spyOn(Commands.prototype, 'copy');
      await step(trainer, randomBatch(config, { seed: 9, batchSize: 2 }), 1);
      const within = copy.mock.calls.filter(([, , to]) => (to.gpu.usage & GPU_MAP_READ) === 0);
      expect(copy.mock.calls.length, 'losses are read').toBeGreaterThan(0);
      copy.mockRestore();
      expect(within.map(([from, , to, , bytes]) => ({ from: from.id, to: to.id, bytes }))).toEqual([]);
    },
  );
});

/** `GPUBufferUsage.MAP_READ`: the host reads such a buffer. */
const GPU_MAP_READ = 1;

async function stepsOf(engine: Engine, steps: number): Promise<{ loss: number; gradNorm: number }[]> {
  const trainer = new Trainer(engine, config, { seed: 3 });
  const batch = randomBatch(config, { seed: 9, batchSize: 6 });
  const results: { loss: number; gradNorm: number }[] = [];
  for (let index = 1; index <= steps; index++) results.push(await step(trainer, batch, index));
  return results;
}

/** One update with the gradients of two microbatches. */
async function step(trainer: Trainer, batch: Batch, index: number) {
  const half = batch.sampleCount / 2;
  let sums = { loss: 0, weight: 0 };
  for (const first of [0, half]) {
    const part = samplesOf(batch, first, half);
    const microStep = { ...part, lossScale: 1 / targetsOf(batch), dropout: { ...dropoutSource(first), step: index } };
    const { loss, weight } = await trainer.microStep(microStep);
    sums = { loss: sums.loss + loss, weight: sums.weight + weight };
  }
  const { gradNorm } = await trainer.applyAdamw({ ...fixtureTraining.optimizer, learningRate: 1e-2, step: index });
  return { loss: meansOf(sums).loss, gradNorm };
}
