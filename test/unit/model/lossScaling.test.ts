/** Loss scaling in a trainer and in runs, on an engine whose gradients overflow at a known size. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { encodeScaling, initialScaling } from '../../../src/base/lossScaling.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { openDataset } from '../../../src/data/openDataset.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import type { Precision } from '../../../src/model/computing.ts';
import { Trainer } from '../../../src/model/training.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { targetsOf } from '../../../src/task/nextToken.ts';
import { halfEngine, halfEntry } from '../../engines/halfEngine.ts';
import { runInMemory } from '../../engines/runInMemory.ts';
import { randomBatch, tinyConfig } from '../../parity/model/tinyModels.ts';

const optimizer = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradClip: 0.5, learningRate: 0.01 };
const engines: Engine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.dispose();
});

function newTrainer(precision: Precision, limit?: number): Trainer {
  const engine = halfEngine(limit);
  engines.push(engine);
  return new Trainer(engine, { ...tinyConfig, dropout: 0 }, { seed: 3, precision });
}

const state = async ({ engine, parameters }: Trainer) =>
  engine.checksum([parameters.values, parameters.m, parameters.v]);

/** Steps from `first` on. */
async function train(trainer: Trainer, first: number, count: number) {
  const batch = randomBatch(tinyConfig, { seed: 9, batchSize: 2 });
  const applied = [];
  for (let step = first; step < first + count; step++) {
    await trainer.microStep({ ...batch, lossScale: 1 / targetsOf(batch) });
    applied.push(await trainer.applyAdamw({ ...optimizer, step }));
  }
  return applied;
}

describe('a trainer with float16', () => {
  it('has the bits of one without, as long as nothing overflows', async () => {
    const [scaled, plain] = [newTrainer('f16'), newTrainer('float32')];
    expect(await train(scaled, 1, 3)).toEqual(await train(plain, 1, 3));
    expect(await state(scaled)).toBe(await state(plain));
    expect(await scaled.parameters.lossScaling!.current()).toEqual({ ...initialScaling, steadySteps: 3 });
  });

  it('skips a step that overflows as if it had not been, and halves the scale', async () => {
    const plain = newTrainer('float32');
    const [{ gradNorm }] = (await train(plain, 1, 2)) as [{ gradNorm: number }, unknown];
    // It fits after two halvings.
    const scaled = newTrainer('f16', gradNorm * 2 ** 14.5);
    const [first, second, third, fourth] = await train(scaled, 1, 4);
    for (const skipped of [first, second])
      expect(skipped).toEqual({ gradNorm: Number.POSITIVE_INFINITY, skipped: true });
    expect(third).toEqual({ gradNorm });
    expect(fourth!.skipped).toBeUndefined();
    expect(await state(scaled)).toBe(await state(plain));
    expect(await scaled.parameters.lossScaling!.current()).toEqual({ scale: 2 ** 14, steadySteps: 2, skippedSteps: 2 });
  });

  it('saves and restores the scale; a checkpoint without one begins with the first', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-scale-'));
    try {
      const dataset = await openDataset(
        { text: 'README.md', tokenizer: 'byte', valFraction: 0.1 },
        { blockSize: 4, cwd: process.cwd() },
      );
      const [scaled, plain] = [newTrainer('f16'), newTrainer('float32')];
      const scaling = { scale: 2 ** 9, steadySteps: 17, skippedSteps: 4 };
      scaled.parameters.writeTensor('scaling', 0, encodeScaling(scaling));
      await train(scaled, 8, 1);
      const path = await saveCheckpoint(join(folder, 'f16'), scaled, { step: 8, dataset });
      const other = newTrainer('f16');
      await train(other, 1, 1);
      expect(await restoreCheckpoint(path, other)).toMatchObject({ step: 8, hasOptimizer: true });
      expect(await other.parameters.lossScaling!.current()).toEqual({ ...scaling, steadySteps: 18 });
      expect(await train(other, 9, 2)).toEqual(await train(scaled, 9, 2));
      expect(await state(other)).toBe(await state(scaled));

      await restoreCheckpoint(path, plain);
      const without = await saveCheckpoint(join(folder, 'float32'), plain, { step: 8, dataset });
      await restoreCheckpoint(without, other);
      expect(await other.parameters.lossScaling!.current()).toEqual(initialScaling);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('is refused on a device without float16, with the cure', () => {
    const engine = halfEngine();
    engines.push(engine);
    const without = (deviceKind: string) =>
      new Proxy(engine, {
        get: (target, key) => {
          if (key === 'hasFloat16') return false;
          return key === 'deviceKind' ? deviceKind : (Reflect.get(target, key) as unknown);
        },
      });
    const refused = (deviceKind: string) => () =>
      new Trainer(without(deviceKind), tinyConfig, { seed: 1, precision: 'f16' });
    expect(refused('gpu')).toThrow(/no products of float16 numbers: set it to float32, update the driver of the GPU/);
    expect(refused('cpu')).toThrow(/no products of float16 numbers: set it to float32, or engine.name to webgpu/);
  });
});

describe('a run with float16', () => {
  const config = configSchema.parse({
    model: { blockSize: 16, nLayer: 1, nHead: 2, nEmbd: 16 },
    train: { globalBatchSize: 8, microBatchSize: 2, maxSteps: 5, workers: 2, hashEverySteps: 1 },
    eval: { everySteps: 0 },
    checkpoint: { everySteps: 5 },
    optimizer: { gradClip: 0 },
    sample: { maxTokens: 0 },
    engine: { name: 'auto', threads: 1, precision: 'f16' },
  });

  it('skips the same steps on all workers, says so, and continues', async () => {
    const plain = await runInMemory(
      { ...config, engine: { ...config.engine, precision: 'float32' } },
      { native: halfEntry() },
    );
    const { gradNorm } = plain.results.steps[0]!;
    const skipped: string[] = [];
    const { results } = await runInMemory(
      config,
      { native: halfEntry(gradNorm * 2 ** 14.5) },
      {
        onEvent: ({ event, reason }) => void (event === 'skipped' && skipped.push(reason)),
      },
    );
    expect(skipped).toEqual([
      'a gradient of step 1 is too large for float16: the step is skipped, and the scale of the loss is halved',
      'a gradient of step 2 is too large for float16: the step is skipped, and the scale of the loss is halved',
    ]);
    expect(results.steps.map((step) => Number.isFinite(step.gradNorm))).toEqual([false, false, true, true, true]);
    expect(results.steps[0]!.loss).toBe(plain.results.steps[0]!.loss);
  }, 60_000);

  it('ends if no scale is small enough', async () => {
    const long = { ...config, train: { ...config.train, maxSteps: 100 } };
    await expect(runInMemory(long, { native: halfEntry(0) })).rejects.toThrow(
      /^the norm of the gradient of step 25 is Infinity, .* diverged\. .* engine\.precision=float32 \(it is f16\)/,
    );
  }, 60_000);
});
