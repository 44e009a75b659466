/** The average of the weights: its closed form, what it is for, and what it leaves alone. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { createEngine } from '../../../src/engine/registry.ts';
import { averageWeight } from '../../../src/model/averageWeight.ts';
import { Trainer } from '../../../src/model/training.ts';

const config = {
  architecture: 'gpt2',
  nLayer: 1,
  nHead: 2,
  nEmbd: 8,
  blockSize: 4,
  vocabSize: 11,
  dropout: 0,
  bias: true,
  activation: 'gelu',
  tiedHead: true,
} as const;
const adamw = { learningRate: 0.02, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradClip: 1 };
const tokens = Int32Array.of(3, 1, 4, 1, 5, 9, 2, 6);
const targets = Int32Array.of(1, 4, 1, 5, 9, 2, 6, 5);
const shape = [4];
const batch = { sampleCount: 2, arrays: { tokens: { shape, data: tokens }, targets: { shape, data: targets } } };

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ name: 'native' });
});
afterAll(() => engine.dispose());

/** Parameters after each of some updates. */
async function train(trainer: Trainer, ema: number, steps: number): Promise<Float32Array[]> {
  const history: Float32Array[] = [];
  for (let step = 1; step <= steps; step++) {
    await trainer.microStep({ ...batch, lossScale: 1 / 8 });
    await trainer.applyAdamw({ ...adamw, ema, step });
    history.push(await contents(trainer, 'params'));
  }
  return history;
}

async function contents({ parameters }: Trainer, block: 'params' | 'average'): Promise<Float32Array> {
  const values = new Float32Array(parameters.count);
  await parameters.exportState(block, values);
  return values;
}

describe('the average of the weights', () => {
  it.each([0.5, 0.9, 0.999])(
    'with decay %d is the weighted mean of the parameters after each update',
    async (decay) => {
      const trainer = new Trainer(engine, config, { seed: 1, averaged: true });
      const history = await train(trainer, decay, 12);
      const average = await contents(trainer, 'average');
      const weights = history.map((_, i) => decay ** (history.length - 1 - i));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (let i = 0; i < average.length; i += 7) {
        const expected = history.reduce((sum, values, step) => sum + (weights[step]! / total) * values[i]!, 0);
        expect(Math.abs(average[i]! - expected)).toBeLessThan(1e-6 * Math.max(1, Math.abs(expected)));
      }
      expect(average).not.toEqual(history.at(-1));
    },
  );

  it('is the parameters themselves after the first update, and has no effect on training', async () => {
    const [averaged, plain] = [true, false].map((is) => new Trainer(engine, config, { seed: 1, averaged: is }));
    const history = await train(averaged!, 0.999, 1);
    expect(await contents(averaged!, 'average')).toEqual(history[0]);
    expect(await train(plain!, 0, 1)).toEqual(history);
  });

  it('is evaluated instead of the parameters', async () => {
    const trainer = new Trainer(engine, config, { seed: 1, averaged: true });
    await train(trainer, 0.9, 8);
    const evaluated = await trainer.evaluate(batch);
    const average = await contents(trainer, 'average');
    const other = new Trainer(engine, config, { seed: 1 });
    other.parameters.importState('params', average);
    expect(await other.evaluate(batch)).toEqual(evaluated);
    other.parameters.importState('params', await contents(trainer, 'params'));
    expect(await other.evaluate(batch)).not.toEqual(evaluated);
    // Training continues with the parameters.
    expect(await trainer.microStep({ ...batch, lossScale: 1 / 8 })).toEqual(
      await other.microStep({ ...batch, lossScale: 1 / 8 }),
    );
  });

  it('is asked for in both places, or in none', async () => {
    const [averaged, plain] = [true, false].map((is) => new Trainer(engine, config, { seed: 1, averaged: is }));
    await expect(averaged!.applyAdamw({ ...adamw, step: 1 })).rejects.toThrow('expected ema to be a number above 0');
    await expect(averaged!.applyAdamw({ ...adamw, ema: 1, step: 1 })).rejects.toThrow('received 1');
    await expect(plain!.applyAdamw({ ...adamw, ema: 0.9, step: 1 })).rejects.toThrow('expected ema to be 0');
  });
});

it('averageWeight is (1 - decay) / (1 - decay^step), and so 1 at first', () => {
  expect(averageWeight(0.999, 1)).toBeCloseTo(1, 12);
  expect(Math.fround(averageWeight(0.999, 1))).toBe(1);
  expect(averageWeight(0.9, 3)).toBeCloseTo(0.1 / (1 - 0.729), 12);
  expect(averageWeight(0.9, 10_000)).toBeCloseTo(0.1, 12);
});
