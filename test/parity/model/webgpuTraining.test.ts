/** Training steps of the webgpu engine: the losses of the native engine, and nothing but kernels on the device. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodeScaling } from '../../../src/base/lossScaling.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { Commands } from '../../../src/engine/webgpu/commands.ts';
import { webgpu } from '../../../src/engine/webgpu/entry.ts';
import { createWebgpuEngine } from '../../../src/engine/webgpu/webgpuEngine.ts';
import { memoryPerWorker } from '../../../src/model/memoryPlan.ts';
import { Trainer } from '../../../src/model/training.ts';
import { whyUnavailable } from '../webgpu.ts';
import { fixtureTraining } from './pytorchFixtures.ts';
import { dropoutSource, randomBatch } from './tinyModels.ts';
import { stepsConfig as config, stepOf, stepsOf } from './trainingSteps.ts';

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

  it('float16: ten steps have the losses of the native engine in float32, within the rounding', async () => {
    if (engine.hasFloat16 !== true) return;
    const native = createNativeEngine({ threads: 2 });
    const expected = await stepsOf(native, 10, 'float32', 1e-3);
    await native.dispose();
    const results = await stepsOf(engine, 10, 'f16', 1e-3);
    for (const [step, { loss, gradNorm }] of results.entries()) {
      expect(Math.abs(loss / expected[step]!.loss - 1), `loss of step ${step + 1}`).toBeLessThan(1e-4);
      expect(Math.abs(gradNorm / expected[step]!.gradNorm - 1), `norm of step ${step + 1}`).toBeLessThan(2e-3);
    }
    expect(results, 'the products are rounded').not.toEqual(expected);
  });

  it('float16: a gradient that is too large skips the step, and the next scales fit', async () => {
    if (engine.hasFloat16 !== true) return;
    const trainer = new Trainer(engine, config, { seed: 3, precision: 'f16' });
    const scaling = trainer.parameters.lossScaling!;
    trainer.parameters.writeTensor('scaling', 0, encodeScaling({ scale: 2 ** 24, steadySteps: 7, skippedSteps: 0 }));
    const before = await engine.checksum([trainer.parameters.values, trainer.parameters.m]);
    const batch = randomBatch(config, { seed: 9, batchSize: 2 });
    const first = await stepOf(trainer, batch, 1);
    expect(Number.isFinite(first.loss)).toBe(true);
    expect(Number.isFinite(first.gradNorm)).toBe(false);
    expect(await engine.checksum([trainer.parameters.values, trainer.parameters.m])).toBe(before);
    expect(await scaling.current()).toEqual({ scale: 2 ** 23, steadySteps: 0, skippedSteps: 1 });
    let index = 2;
    while (!Number.isFinite((await stepOf(trainer, batch, index)).gradNorm)) index++;
    expect(index).toBeLessThan(12);
    expect(await scaling.current()).toEqual({ scale: 2 ** (25 - index), steadySteps: 1, skippedSteps: index - 1 });
    expect(await engine.checksum([trainer.parameters.values, trainer.parameters.m])).not.toBe(before);
  });

  it.each([
    { options: {}, activationRecompute: 'none' },
    { options: { vocabSize: 4000, nEmbd: 16 }, activationRecompute: 'block' },
  ] as const)('the planned memory is what a step takes: %o', async ({ options, activationRecompute }) => {
    const own = await createWebgpuEngine();
    try {
      const shape = { ...config, ...options };
      const plannedOn = await webgpu.planDevice(0);
      const plan = memoryPerWorker(shape, { microBatchSize: 4, activationRecompute, plannedOn });
      const trainer = new Trainer(own, shape, { seed: 3, activationRecompute });
      expect(own.memory().bytesInUse).toBe(plan.parameters + plan.gradients + plan.moments);
      const batch = randomBatch(shape, { seed: 9, batchSize: 4 });
      await trainer.microStep({ ...batch, lossScale: 1, dropout: { ...dropoutSource(0), step: 1 } });
      const { grads } = trainer.parameters;
      await own.copyOut(grads, 0, grads.length, own.hostRange(grads, 0, grads.length));
      await trainer.applyAdamw({ ...fixtureTraining.optimizer, learningRate: 1e-2, step: 1 });
      expect(Math.abs(own.memory().bytesPeak / plan.total - 1)).toBeLessThan(0.02);
      expect(plan.transfers).toBeGreaterThanOrEqual(4 * grads.length);
    } finally {
      await own.dispose();
    }
  });

  it.each([{}, { dropout: 0, activation: 'relu' as const, tiedHead: false, bias: false }])(
    'a step copies nothing within the device: %o',
    async (options) => {
      const trainer = new Trainer(engine, { ...config, ...options }, { seed: 3 });
      const copy = vi.spyOn(Commands.prototype, 'copy');
      await stepOf(trainer, randomBatch(config, { seed: 9, batchSize: 2 }), 1);
      const within = copy.mock.calls.filter(([, , to]) => (to.gpu.usage & GPU_MAP_READ) === 0);
      expect(copy.mock.calls.length, 'losses are read').toBeGreaterThan(0);
      copy.mockRestore();
      expect(within.map(([from, , to, , bytes]) => ({ from: from.id, to: to.id, bytes }))).toEqual([]);
    },
  );
});

/** `GPUBufferUsage.MAP_READ`: the host reads such a buffer. */
const GPU_MAP_READ = 1;
