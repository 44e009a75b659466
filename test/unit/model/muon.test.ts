/** Muon in a trainer: what it updates, what it keeps, and what it leaves alone. Its numbers: test/parity/model/muon.test.ts. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { isTrainedBy } from '../../../src/architecture/trainable.ts';
import type { Dataset } from '../../../src/data/dataset.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { memoryPerWorker } from '../../../src/model/memoryPlan.ts';
import type { ParameterBlock } from '../../../src/model/parameterBlocks.ts';
import { Trainer, type TrainerOptions } from '../../../src/model/training.ts';
import { restoreCheckpoint, saveCheckpoint } from '../../../src/run/saveCheckpoint.ts';
import { tokenBatch } from '../../../src/task/nextToken.ts';

const model: Gpt2Config = {
  architecture: 'gpt2',
  nLayer: 2,
  nHead: 2,
  nEmbd: 48,
  blockSize: 8,
  vocabSize: 17,
  dropout: 0,
  bias: true,
  activation: 'gelu',
  tiedHead: true,
};
const tokens = Int32Array.from({ length: 32 }, (_, i) => (i * i + 3 * i) % 17);
const batch = tokenBatch(
  tokens,
  tokens.map((_, i) => ((i + 1) * (i + 1) + 3 * (i + 1)) % 17),
  8,
);
const rates = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradClip: 1 };

function newTrainer({ threads = 1, ...options }: Partial<TrainerOptions> & { threads?: number } = {}): Trainer {
  const engine = createNativeEngine({ threads });
  onTestFinished(() => engine.dispose());
  return new Trainer(engine, model, { seed: 1, muon: true, ...options });
}

/** The losses of some steps. */
async function train(trainer: Trainer, from: number, to: number): Promise<number[]> {
  const losses: number[] = [];
  const ema = trainer.parameters.average === undefined ? 0 : 0.7;
  for (let step = from; step <= to; step++) {
    const { loss } = await trainer.microStep({ ...batch, lossScale: 1 / 32 });
    losses.push(loss! / 32);
    await trainer.applyAdamw({ ...rates, ema, step });
  }
  return losses;
}

async function contents({ parameters }: Trainer, block: ParameterBlock): Promise<Float32Array> {
  const size = parameters.specsOf(block).reduce((sum, spec) => sum + spec.size, 0);
  const values = new Float32Array(size);
  await parameters.exportState(block, values);
  return values;
}

const matrices = ['attn.c_attn', 'attn.c_proj', 'mlp.c_fc', 'mlp.c_proj'];
describe('a trainer with muon', () => {
  it('lowers the loss, faster than AdamW with the same rates here', async () => {
    const losses = await train(newTrainer(), 1, 30);
    const ofAdamw = await train(newTrainer({ muon: false }), 1, 30);
    expect(losses[0]).toBe(ofAdamw[0]);
    expect(losses.at(-1)!).toBeLessThan(0.5 * losses[0]!);
    expect(losses.at(-1)!).toBeLessThan(ofAdamw.at(-1)!);
  });

  it('keeps no second moment of the matrices inside of blocks, and of nothing else', () => {
    const { stateTensors } = newTrainer({ averaged: true }).parameters;
    const without = stateTensors.filter(({ parts }) => !parts.includes('v'));
    expect(without.map(({ name }) => name).sort()).toEqual(
      [0, 1].flatMap((layer) => matrices.map((matrix) => `transformer.h.${layer}.${matrix}.weight`)),
    );
    expect(without[0]!.parts).toEqual(['model', 'weights', 'm']);
    const ofAdamw = newTrainer({ muon: false }).parameters.stateTensors;
    expect(ofAdamw.every(({ parts }) => parts.includes('v'))).toBe(true);
  });

  it('has the same bits for any number of threads', async () => {
    const [one, three] = [newTrainer({ averaged: true }), newTrainer({ averaged: true, threads: 3 })];
    await train(one, 1, 2);
    await train(three, 1, 2);
    for (const block of ['params', 'm', 'v', 'average'] as const) {
      expect(await contents(three, block)).toEqual(await contents(one, block));
    }
  });

  it('updates by the direction of a gradient, so clipping changes what it remembers, not the first update', async () => {
    const updated = async (gradClip: number) => {
      const trainer = newTrainer({ isTrained: isTrainedBy('*c_fc.weight') });
      await trainer.microStep({ ...batch, lossScale: 1 / 32 });
      const { gradNorm } = await trainer.applyAdamw({ ...rates, gradClip, step: 1 });
      return { gradNorm, params: await contents(trainer, 'params'), m: await contents(trainer, 'm') };
    };
    const [free, clipped] = [await updated(0), await updated(0.01)];
    const largest = Math.max(...clipped.params.map((value, i) => Math.abs(value - free.params[i]!)));
    expect(largest).toBeLessThan(1e-5);
    const at = free.m.indexOf(Math.max(...free.m));
    expect(clipped.m[at]! / free.m[at]!).toBeCloseTo(0.01 / free.gradNorm, 5);
  });

  it('averages all updated weights', async () => {
    const trainer = newTrainer({ averaged: true });
    await train(trainer, 1, 1);
    expect(await contents(trainer, 'average')).toEqual(await contents(trainer, 'params'));
    const [first, before] = [await contents(trainer, 'params'), await contents(trainer, 'average')];
    await train(trainer, 2, 2);
    const [second, average] = [await contents(trainer, 'params'), await contents(trainer, 'average')];
    const weight = 0.3 / (1 - 0.7 ** 2);
    expect(second).not.toEqual(first);
    for (let i = 0; i < second.length; i += 11) {
      expect(average[i]!).toBeCloseTo((1 - weight) * before[i]! + weight * second[i]!, 6);
    }
  });

  it('needs less memory for moments, by 4 bytes for each element of a matrix', () => {
    const shape = { ...model, nEmbd: 64 };
    const [adamw, muon] = (['adamw', 'muon'] as const).map((kind) =>
      memoryPerWorker(shape, { microBatchSize: 1, kind }),
    );
    expect(adamw!.moments - muon!.moments).toBe(4 * 2 * 12 * 64 ** 2);
    expect(muon!.parameters).toBe(adamw!.parameters);
  });

  it('refuses the settings of another kind', async () => {
    await expect(newTrainer().applyAdamw({ ...rates, kind: 'adamw', step: 1 })).rejects.toThrow(
      'expected kind to be muon, as in the trainer, received adamw',
    );
    await expect(newTrainer({ muon: false }).applyAdamw({ ...rates, kind: 'muon', step: 1 })).rejects.toThrow(
      'expected kind to be adamw',
    );
  });
});

describe('its checkpoints', () => {
  const tokenizer = { files: () => ({}), endOfText: undefined } as unknown as Dataset['tokenizer'];
  const dataset = { tokenizer, sha256: 'a'.repeat(64) };
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-muon-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('continue to the same bits', async () => {
    const straight = newTrainer({ averaged: true });
    await train(straight, 1, 4);
    await saveCheckpoint('run', straight, { step: 4, dataset, cwd: folder });
    await train(straight, 5, 8);
    const resumed = newTrainer({ averaged: true, seed: 2 });
    expect((await restoreCheckpoint('run', resumed, { cwd: folder })).hasOptimizer).toBe(true);
    await train(resumed, 5, 8);
    for (const block of ['params', 'm', 'v', 'average'] as const) {
      expect(await contents(resumed, block)).toEqual(await contents(straight, block));
    }
  });

  it('give a trainer of the other kind their weights only', async () => {
    for (const muon of [true, false]) {
      const trainer = newTrainer({ muon });
      await train(trainer, 1, 2);
      await saveCheckpoint(`kind-${muon}`, trainer, { step: 2, dataset, cwd: folder });
      const other = newTrainer({ muon: !muon, seed: 2 });
      expect((await restoreCheckpoint(`kind-${muon}`, other, { cwd: folder })).hasOptimizer).toBe(false);
      expect(await contents(other, 'params')).toEqual(await contents(trainer, 'params'));
      expect((await contents(other, 'm')).every((value) => value === 0)).toBe(true);
    }
  });
});
