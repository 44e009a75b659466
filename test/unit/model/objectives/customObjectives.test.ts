/**
 * Objectives that are written without touching the model, against finite differences of the same losses in float64: rows that
 * weigh, and pairs whose loss depends on both passes (Rafailov et al., "Direct Preference Optimization", 2023,
 * https://arxiv.org/abs/2305.18290).
 */
import { describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../../src/architecture/registry.ts';
import { type Batch, type BatchNumbers, samplesOf } from '../../../../src/base/batch.ts';
import { addSums } from '../../../../src/base/sums.ts';
import type { Model } from '../../../../src/model/model.ts';
import type { Objective, PassSums, StepOptions } from '../../../../src/model/objectives/objective.ts';
import { Tape } from '../../../../src/model/tape.ts';
import { Trainer, type TrainerOptions } from '../../../../src/model/training.ts';
import type { Variable } from '../../../../src/model/variable.ts';
import { tokenFields } from '../../../../src/task/nextToken.ts';
import { Float64Engine, numbers } from '../../../parity/model/float64Engine.ts';
import { dropoutSource, randomBatch, tinyConfig } from '../../../parity/model/tinyModels.ts';

const small = { ...tinyConfig, nLayer: 1, nEmbd: 8, vocabSize: 11, blockSize: 4 };
const bigram: ModelConfig = { architecture: 'bigram', vocabSize: 11, blockSize: 4 };
const T = small.blockSize;

const upload = (tape: Tape, { sampleCount: B, arrays }: Batch, name: string, flat = false) =>
  tape.upload(arrays[name]!.data, flat ? [B * T] : [B, T]);

/** Σ weights · losses: what supervised fine-tuning masks and weighs. */
const weightedTokens: Objective = {
  name: 'weighted-tokens',
  fields: (sizes) => ({
    ...tokenFields(sizes),
    weights: { dtype: 'float32', axes: [{ name: 'T', max: sizes.blockSize }], min: -10, max: 10 },
  }),
  async step(tape, model, batch, { scale: lossScale, dropout, activationRecompute, onGradReady }) {
    const [tokens, targets] = [upload(tape, batch, 'tokens'), upload(tape, batch, 'targets', true)];
    const weights = upload(tape, batch, 'weights', true);
    const losses = model.losses(tape, tokens, targets, { lossScale, weights, dropout, activationRecompute });
    tape.backward([], onGradReady);
    return weightedSums(await tape.read(losses), batch);
  },
  async evaluate(tape, model, batch) {
    const losses = model.losses(tape, upload(tape, batch, 'tokens'), upload(tape, batch, 'targets', true));
    return weightedSums(await tape.read(losses), batch);
  },
};

function weightedSums(losses: ArrayLike<number>, { arrays }: Batch): PassSums {
  let [weight, loss] = [0, 0];
  for (const [n, by] of arrays['weights']!.data.entries()) {
    if (arrays['targets']!.data[n]! >= 0) weight += by;
    loss += by * losses[n]!;
  }
  return { weight, loss };
}

const beta = 0.5;
const sides = ['chosen', 'rejected'] as const;

/** -log σ(β (log π(chosen) - log π(rejected) - reference)), a pair each. */
const preference: Objective = {
  name: 'preference',
  fields: (sizes) => {
    const { tokens, targets } = tokenFields(sizes);
    const pair = { chosen: tokens!, chosenTargets: targets!, rejected: tokens!, rejectedTargets: targets! };
    return { ...pair, reference: { dtype: 'float32', axes: [{ name: '1', max: 1 }], min: -1e4, max: 1e4 } };
  },
  async step(tape, model, batch, options) {
    const [chosen, rejected] = passes(tape, model, batch, options);
    const { gradients, ...sums } = pairs(await tape.read(chosen!), await tape.read(rejected!), batch);
    const seed = (of: Variable, sign: number) => {
      const grad = Float32Array.from(
        { length: of.value.size },
        (_, n) => sign * options.scale * gradients[(n / T) | 0]!,
      );
      return { of, grad: tape.upload(grad, of.shape) };
    };
    tape.backward([seed(chosen!, 1), seed(rejected!, -1)], options.onGradReady);
    return sums;
  },
  async evaluate(tape, model, batch) {
    const [chosen, rejected] = passes(tape, model, batch, {});
    const { gradients: _, ...sums } = pairs(await tape.read(chosen!), await tape.read(rejected!), batch);
    return sums;
  },
};

function passes(tape: Tape, model: Model, batch: Batch, options: Partial<StepOptions>): Variable[] {
  const { dropout, activationRecompute, scale } = options;
  return sides.map((side) =>
    model.losses(tape, upload(tape, batch, side), upload(tape, batch, `${side}Targets`, true), {
      training: scale !== undefined,
      dropout,
      activationRecompute,
    }),
  );
}

/** From losses, which are -log π of each target: the derivative of a pair's loss to those of the chosen side. */
function pairs(chosen: ArrayLike<number>, rejected: ArrayLike<number>, { sampleCount, arrays }: Batch) {
  let [loss, right] = [0, 0];
  const gradients = Array.from({ length: sampleCount }, (_, pair) => {
    let margin = -arrays['reference']!.data[pair]!;
    for (let n = pair * T; n < (pair + 1) * T; n++) margin += rejected[n]! - chosen[n]!;
    loss += Math.log1p(Math.exp(-beta * margin));
    right += Number(margin > 0);
    return beta / (1 + Math.exp(beta * margin));
  });
  return { weight: sampleCount, loss, right, gradients };
}

function batchOf(arrays: Record<string, { data: BatchNumbers; width: number }>, sampleCount: number): Batch {
  const shaped = Object.entries(arrays).map(([name, { data, width }]) => [name, { shape: [width], data }] as const);
  return { sampleCount, arrays: Object.fromEntries(shaped) };
}

const B = 3;
const [one, other] = [4, 5].map((seed) => randomBatch(small, { seed, batchSize: B, ignoreEvery: 5 }).arrays);
const row = (data: BatchNumbers) => ({ data, width: T });
const weights = Float32Array.from({ length: B * T }, (_, n) => [0.5, -2, 0, 1, 0.25, 3][n % 6]!);
const batches: Record<string, Batch> = {
  'weighted-tokens': batchOf(
    { tokens: row(one!.tokens.data), targets: row(one!.targets.data), weights: row(weights) },
    B,
  ),
  preference: batchOf(
    {
      chosen: row(one!.tokens.data),
      chosenTargets: row(one!.targets.data),
      rejected: row(other!.tokens.data),
      rejectedTargets: row(other!.targets.data),
      reference: { data: Float32Array.of(0.3, -1, 0), width: 1 },
    },
    B,
  ),
};

/** The loss in float64, which what is read for its sums is not. */
function exactLoss({ engine, model, objective }: Trainer, batch: Batch, drops: boolean): number {
  const tape = new Tape(engine);
  const dropout = drops ? dropoutSource() : undefined;
  const isPair = objective === preference;
  const all = isPair
    ? passes(tape, model, batch, { dropout })
    : [model.losses(tape, upload(tape, batch, 'tokens'), upload(tape, batch, 'targets', true), { dropout })];
  const [first, second] = all.map(({ value }) => numbers(value));
  const { loss } = isPair ? pairs(first!, second!, batch) : weightedSums(first!, batch);
  tape.discard();
  return loss as number;
}

const cases: [string, Objective, ModelConfig, Partial<TrainerOptions>][] = [];
for (const objective of [weightedTokens, preference]) {
  cases.push(['GPT-2', objective, small, {}]);
  cases.push([
    'GPT-2 with dropout and recomputed blocks',
    objective,
    { ...small, dropout: 0.3 },
    { activationRecompute: 'block' },
  ]);
  cases.push(['an untied head', objective, { ...small, tiedHead: false }, {}]);
  cases.push([
    'a frozen head',
    objective,
    { ...small, tiedHead: false },
    { isTrained: ({ name }) => !name.startsWith('lm_head') },
  ]);
  cases.push(['a bigram', objective, bigram, {}]);
}

describe.each(cases)('with %s', (_, objective, config, options) => {
  const drops = 'dropout' in config && config.dropout > 0;
  const scale = 0.7;

  function newTrainer(): Trainer {
    const trainer = new Trainer(new Float64Engine(), config, { seed: 1, objective, ...options });
    for (const { value } of trainer.parameters.list) {
      const data = numbers(value);
      for (let i = 0; i < data.length; i++) data[i] = 4 * data[i]! * (1 + 0.1 * Math.sin(i)) + 0.1 * Math.cos(3 * i);
    }
    return trainer;
  }

  it(`${objective.name} has the gradient of its loss, which adds up over microbatches`, async () => {
    const batch = batches[objective.name]!;
    const trainer = newTrainer();
    const { parameters, engine } = trainer;
    const idle = engine.memory().bytesInUse;
    const ready: number[] = [];
    const dropout = drops ? { dropout: dropoutSource() } : {};
    const sums = await trainer.microStep({
      ...batch,
      lossScale: scale,
      ...dropout,
      onGradReady: (index) => ready.push(index),
    });
    expect(engine.memory().bytesInUse).toBe(idle);
    expect(ready.toSorted((a, b) => a - b)).toEqual([...parameters.trained.keys()]);
    expect(sums.loss).toBeCloseTo(exactLoss(trainer, batch, drops), 5);
    if (!drops) expect(await trainer.evaluate(batch)).toEqual(sums);

    const step = 1e-5;
    for (const { name, value, grad } of parameters.list.slice(0, parameters.trained.length)) {
      const [data, gradient] = [numbers(value), numbers(grad!)];
      const stride = Math.max(1, Math.floor(data.length / 7));
      for (let i = 0; i < data.length; i += stride) {
        const original = data[i]!;
        const lossAt = (x: number) => {
          data[i] = x;
          return exactLoss(trainer, batch, drops);
        };
        const difference = (scale * (lossAt(original + step) - lossAt(original - step))) / (2 * step);
        data[i] = original;
        const error = Math.abs(difference - gradient[i]!) / Math.max(1, Math.abs(difference));
        expect(error, `${name}[${i}]: ${gradient[i]} against ${difference}`).toBeLessThan(1e-6);
      }
      expect(Math.max(...gradient.map(Math.abs)), `${name} has a gradient`).toBeGreaterThan(1e-4);
    }

    const divided = newTrainer();
    let total = await divided.microStep({ ...samplesOf(batch, 0, 2), lossScale: scale, ...dropout });
    const second = drops ? { dropout: dropoutSource(2) } : {};
    total = addSums(total, await divided.microStep({ ...samplesOf(batch, 2, 1), lossScale: scale, ...second }));
    for (const [key, sum] of Object.entries(sums)) expect(total[key], key).toBeCloseTo(sum, 5);
    for (const [i, whole] of parameters.grads.tensors.entries()) {
      for (const [at, value] of numbers(divided.parameters.grads.tensors[i]!).entries()) {
        expect(Math.abs(value - numbers(whole)[at]!)).toBeLessThan(1e-6);
      }
    }
  });
});
