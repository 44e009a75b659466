/** Models with other outputs than a vocabulary: which objectives they have, and that they generate no text. */
import { describe, expect, it } from 'vitest';
import { type Batch, type BatchArray, samplesOf } from '../../../../src/base/batch.ts';
import { DecodeBatch } from '../../../../src/model/decodeBatch.ts';
import { evaluateBatches } from '../../../../src/model/evaluation.ts';
import { Model } from '../../../../src/model/model.ts';
import { nextToken } from '../../../../src/model/objectives/nextToken.ts';
import { reward } from '../../../../src/model/objectives/reward.ts';
import { parameterSpecs } from '../../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../../src/model/parameterStore.ts';
import { Tape } from '../../../../src/model/tape.ts';
import { Trainer } from '../../../../src/model/training.ts';
import { checkBatch } from '../../../../src/task/fields.ts';
import { Float64Engine, numbers } from '../../../parity/model/float64Engine.ts';
import { type HeadCase, headCases } from '../../../parity/model/headCases.ts';
import { randomBatch, tinyConfig } from '../../../parity/model/tinyModels.ts';

const classifier = { ...tinyConfig, labels: ['ham', 'spam'] };
const reward1 = { ...tinyConfig, labels: ['reward'] };

/** Away from the initial point, where biases are 0 and norms 1. */
function newTrainer({ config, objective }: Pick<HeadCase, 'config' | 'objective'>, options: object = {}): Trainer {
  const trainer = new Trainer(new Float64Engine(), config, { seed: 1, objective, ...options });
  for (const { value } of trainer.parameters.list) {
    const data = numbers(value);
    for (let i = 0; i < data.length; i++) data[i] = 4 * data[i]! * (1 + 0.1 * Math.sin(i)) + 0.1 * Math.cos(3 * i);
  }
  return trainer;
}

/** The logits [K] at each target, each row in a pass of its own. */
function logitsOf({ engine, model }: Trainer, tokens: BatchArray, targets: BatchArray): number[][] {
  const K = model.config.architecture === 'gpt2' ? model.config.labels!.length : 0;
  const length = tokens.shape[0]!;
  return Array.from(targets.data, (target, n) => ({ target, n }))
    .filter(({ target }) => target >= 0)
    .map(({ n }) => {
      const tape = new Tape(engine);
      const start = n - (n % length);
      const row = Int32Array.from(tokens.data.subarray(start, n + 1));
      const logits = [...numbers(model.forward(tape, tape.upload(row, [1, row.length])).value)].slice(-K);
      tape.discard();
      return logits;
    });
}

/** Written a second time from the formulas, in float64. */
function exactLoss(trainer: Trainer, { arrays }: Batch): number {
  if (trainer.objective === reward) {
    const [chosen, rejected] = ['chosen', 'rejected'].map((side) =>
      logitsOf(trainer, arrays[side]!, arrays[`${side}Targets`]!).flat(),
    ) as [number[], number[]];
    return chosen.reduce((sum, score, i) => sum + Math.log(1 + Math.exp(rejected[i]! - score)), 0);
  }
  const targets = arrays['targets']!.data.filter((target) => target >= 0);
  return logitsOf(trainer, arrays['tokens']!, arrays['targets']!).reduce((sum, logits, i) => {
    return sum - logits[targets[i]!]! + Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0));
  }, 0);
}

describe.each(headCases)('$name', (headCase) => {
  const { batch, weight } = headCase;

  it('has the loss of its formula, and the gradient of finite differences', async () => {
    const trainer = newTrainer(headCase);
    const { parameters, engine } = trainer;
    checkBatch(batch, trainer.objective.fields(trainer.model.config));
    const idle = engine.memory().bytesInUse;
    const ready: number[] = [];
    const sums = await trainer.microStep({ ...batch, lossScale: 0.7, onGradReady: (index) => ready.push(index) });
    expect(engine.memory().bytesInUse).toBe(idle);
    expect(ready.toSorted((a, b) => a - b)).toEqual([...parameters.trained.keys()]);
    expect(sums.weight).toBe(weight);
    expect(sums.loss).toBeCloseTo(exactLoss(trainer, batch), 5);
    const step = 1e-5;
    for (const { name, value, grad } of parameters.list) {
      const [data, gradient] = [numbers(value), numbers(grad!)];
      const stride = Math.max(1, Math.floor(data.length / 2));
      for (let i = 0; i < data.length; i += stride) {
        const original = data[i]!;
        const lossAt = (x: number) => {
          data[i] = x;
          return exactLoss(trainer, batch);
        };
        const difference = (0.7 * (lossAt(original + step) - lossAt(original - step))) / (2 * step);
        data[i] = original;
        const error = Math.abs(difference - gradient[i]!) / Math.max(1, Math.abs(difference));
        expect(error, `${name}[${i}]: ${gradient[i]} against ${difference}`).toBeLessThan(1e-5);
      }
    }
  });

  it('learns nothing from a microbatch of padding, whose gradients are final all the same', async () => {
    const trainer = newTrainer(headCase);
    const ready: number[] = [];
    const padding = samplesOf(batch, weight, 1);
    const sums = await trainer.microStep({ ...padding, lossScale: 1, onGradReady: (index) => ready.push(index) });
    expect(sums).toMatchObject({ weight: 0, loss: 0 });
    expect(ready).toHaveLength(trainer.parameters.trained.length);
    for (const grad of trainer.parameters.grads.tensors) expect(numbers(grad).every((value) => value === 0)).toBe(true);
    const { weight: counted, loss, accuracy = 0 } = await trainer.evaluate(padding);
    expect([counted, loss, accuracy]).toEqual([0, 0, 0]);
  });

  it('counts what is right', async () => {
    const trainer = newTrainer(headCase);
    let right = 0;
    for (let i = 0; i < weight; i++) {
      const one = samplesOf(batch, i, 1);
      const sums = await trainer.evaluate(one);
      // Below log 2 only if the pair is in order; of classes the likeliest may have less than half of the probability.
      if (headCase.objective === reward) expect(sums['accuracy']).toBe(Number(sums.loss < Math.LN2));
      else {
        const [logits] = logitsOf(trainer, one.arrays['tokens']!, one.arrays['targets']!);
        const target = one.arrays['targets']!.data.find((value) => value >= 0)!;
        expect(sums['accuracy']).toBe(Number(logits![target] === Math.max(...logits!)));
      }
      right += sums['accuracy']!;
    }
    expect((await trainer.evaluate(batch))['accuracy']).toBe(right);
    expect(right).toBeGreaterThan(0);
    expect(right).toBeLessThan(weight);
  });

  it('is refused for a model with other outputs', () => {
    const wrong = headCase.objective === reward ? classifier : reward1;
    for (const config of [tinyConfig, wrong]) {
      expect(() => newTrainer({ ...headCase, config })).toThrow(`objective ${headCase.name}: the model has no`);
    }
  });
});

it.each([
  [classifier, 'the model classifies texts (ham, spam) and does not predict or generate them'],
  [reward1, 'the model scores texts (reward) and does not predict or generate them'],
])('a model without a vocabulary predicts and generates nothing: %#', async (config, message) => {
  const engine = new Float64Engine();
  const model = new Model(engine, config, new Parameters(engine, parameterSpecs(config), { training: false }));
  expect(() => new DecodeBatch(engine, model)).toThrow(message);
  expect(() => new Trainer(engine, config, { seed: 1 })).toThrow(`objective next-token: ${message}`);
  const batches = [randomBatch(config, { seed: 1, batchSize: 2 })];
  await expect(evaluateBatches({ engine, model, objective: nextToken }, batches)).rejects.toThrow(message);
});
