/**
 * Objectives whose rows do not weigh the same, against finite differences of the same losses in float64: one with weights in its
 * samples, written without touching the model, pairs, whose weights depend on the losses of both sides, and policies, which may also
 * have values.
 */
import { describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../../src/architecture/registry.ts';
import { type Batch, type BatchNumbers, samplesOf } from '../../../../src/base/batch.ts';
import { addSums } from '../../../../src/base/sums.ts';
import type { Model } from '../../../../src/model/model.ts';
import { dpo } from '../../../../src/model/objectives/dpo.ts';
import type { Objective, PassSums, StepOptions } from '../../../../src/model/objectives/objective.ts';
import { grpo, ppo } from '../../../../src/model/objectives/policy.ts';
import { Tape } from '../../../../src/model/tape.ts';
import { Trainer, type TrainerOptions } from '../../../../src/model/training.ts';
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
const preference = dpo({ beta });

/** Rows of both sides by turns, as one batch. */
function rowsOf({ sampleCount, arrays }: Batch, name: 'tokens' | 'targets'): Int32Array {
  const [chosen, rejected] = (name === 'tokens' ? ['chosen', 'rejected'] : ['chosenTargets', 'rejectedTargets']) as [
    string,
    string,
  ];
  const numbersOf = (side: string, i: number) => [...arrays[side]!.data.subarray(i * T, (i + 1) * T)];
  return Int32Array.from(
    Array.from({ length: sampleCount }, (_, i) => [...numbersOf(chosen, i), ...numbersOf(rejected, i)]).flat(),
  );
}

/** Σ -log σ(β (log π(chosen) - log π(rejected) - reference)) in float64. */
function preferenceLoss(tape: Tape, model: Model, batch: Batch, options: Pick<StepOptions, 'dropout'>): number {
  const { sampleCount, arrays } = batch;
  const tokens = tape.upload(rowsOf(batch, 'tokens'), [2 * sampleCount, T]);
  const targets = tape.upload(rowsOf(batch, 'targets'), [2 * sampleCount * T]);
  const losses = numbers(model.losses(tape, tokens, targets, options).value);
  let loss = 0;
  for (let pair = 0; pair < sampleCount; pair++) {
    const [chosen, rejected] = arrays['reference']!.data.subarray(2 * pair, 2 * pair + 2);
    let margin = rejected! - chosen!;
    for (let t = 0; t < T; t++) margin += losses[(2 * pair + 1) * T + t]! - losses[2 * pair * T + t]!;
    loss += Math.log1p(Math.exp(-beta * margin));
  }
  return loss;
}

const keys = { clip: 0.2, beta: 0.4, valueClip: 0.2, valueCoefficient: 0.6 };
const policies: readonly Objective[] = [grpo(keys), ppo(keys)];

/** Σ of the losses of tokens and values, as policy.ts defines them, in float64. */
function policyLoss(tape: Tape, model: Model, batch: Batch): number {
  const [tokens, targets] = [upload(tape, batch, 'tokens'), upload(tape, batch, 'targets', true)];
  const field = (name: string, n: number) => batch.arrays[name]!.data[n]!;
  const hasValues = batch.arrays['values'] !== undefined;
  const beta = hasValues ? 0 : keys.beta;
  const outputs = hasValues
    ? model.lossesAndValues(tape, tokens, targets)
    : { losses: model.losses(tape, tokens, targets) };
  let loss = 0;
  for (const [n, negative] of numbers(outputs.losses.value).entries()) {
    if (field('targets', n) < 0) continue;
    const [ratio, difference] = [Math.exp(-negative - field('logprobs', n)), field('reference', n) + negative];
    const clipped = Math.min(1 + keys.clip, Math.max(1 - keys.clip, ratio));
    const advantage = field('advantages', n);
    loss += beta * ratio * (Math.exp(difference) - 1 - difference) - Math.min(ratio * advantage, clipped * advantage);
    if (!('values' in outputs)) continue;
    const [value, old, target] = [numbers(outputs.values.value)[n]!, field('values', n), field('returns', n)];
    const limited = Math.min(old + keys.valueClip, Math.max(old - keys.valueClip, value));
    loss += (keys.valueCoefficient / 2) * Math.max((value - target) ** 2, (limited - target) ** 2);
  }
  return loss;
}

function batchOf(arrays: Record<string, { data: BatchNumbers; width: number }>, sampleCount: number): Batch {
  const shaped = Object.entries(arrays).map(([name, { data, width }]) => [name, { shape: [width], data }] as const);
  return { sampleCount, arrays: Object.fromEntries(shaped) };
}

const B = 3;
const [one, other] = [4, 5].map((seed) => randomBatch(small, { seed, batchSize: B, ignoreEvery: 5 }).arrays);
const row = (data: BatchNumbers) => ({ data, width: T });
const weights = Float32Array.from({ length: B * T }, (_, n) => [0.5, -2, 0, 1, 0.25, 3][n % 6]!);
/** Numbers from -size to size. */
const wave = (size: number, seed: number) =>
  Float32Array.from({ length: B * T }, (_, n) => size * Math.sin(seed * n + 1));
/** Near log 11, which are the losses of a model that knows nothing: some ratios are clipped. */
const policyRows = {
  tokens: row(one!.tokens.data),
  targets: row(one!.targets.data),
  advantages: row(wave(1.5, 2)),
  logprobs: row(wave(0.4, 3).map((each) => each - 2.4)),
  reference: row(wave(0.4, 4).map((each) => each - 2.4)),
};
const batches: Record<string, Batch> = {
  'weighted-tokens': batchOf(
    { tokens: row(one!.tokens.data), targets: row(one!.targets.data), weights: row(weights) },
    B,
  ),
  grpo: batchOf(policyRows, B),
  ppo: batchOf({ ...policyRows, values: row(wave(0.8, 5)), returns: row(wave(0.9, 7)) }, B),
  dpo: batchOf(
    {
      chosen: row(one!.tokens.data),
      chosenTargets: row(one!.targets.data),
      rejected: row(other!.tokens.data),
      rejectedTargets: row(other!.targets.data),
      reference: { data: Float32Array.of(-0.3, -1, 0, -2, -4, -4), width: 2 },
    },
    B,
  ),
};

/** The loss in float64, which what is read for its sums is not. */
function exactLoss({ engine, model, objective }: Trainer, batch: Batch, drops: boolean): number {
  const tape = new Tape(engine);
  const dropout = drops ? dropoutSource() : undefined;
  const tokens = () =>
    model.losses(tape, upload(tape, batch, 'tokens'), upload(tape, batch, 'targets', true), { dropout });
  const loss = policies.includes(objective)
    ? policyLoss(tape, model, batch)
    : objective === preference
      ? preferenceLoss(tape, model, batch, { dropout })
      : weightedSums(numbers(tokens().value), batch).loss;
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

for (const objective of policies) {
  cases.push(['GPT-2 without dropout', objective, { ...small, valueHead: objective.name === 'ppo' }, {}]);
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
