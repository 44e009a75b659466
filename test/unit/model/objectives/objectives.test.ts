import { describe, expect, it } from 'vitest';
import { samplesOf } from '../../../../src/base/batch.ts';
import { PeerError, UserError } from '../../../../src/base/errors.ts';
import { addSums, meansOf } from '../../../../src/base/sums.ts';
import { configSchema } from '../../../../src/config/schema.ts';
import { checkFinite } from '../../../../src/model/divergence.ts';
import { evaluateBatches } from '../../../../src/model/evaluation.ts';
import { nextToken } from '../../../../src/model/objectives/nextToken.ts';
import type { Objective } from '../../../../src/model/objectives/objective.ts';
import { objectiveOf } from '../../../../src/model/objectives/registry.ts';
import { Trainer } from '../../../../src/model/training.ts';
import { targetsOf } from '../../../../src/task/nextToken.ts';
import { Float64Engine, numbers } from '../../../parity/model/float64Engine.ts';
import { randomBatch, tinyConfig } from '../../../parity/model/tinyModels.ts';

/** What a batch has besides: the losses once more, as they are on the device, and how many samples there were. */
const measured: Objective = {
  ...nextToken,
  name: 'measured',
  async step(tape, model, batch, options) {
    const sums = await nextToken.step(tape, model, batch, options);
    return { ...sums, again: sums.loss, samples: batch.sampleCount };
  },
  async evaluate(tape, model, batch) {
    const sums = await nextToken.evaluate(tape, model, batch);
    return { ...sums, samples: batch.sampleCount };
  },
};

const batch = randomBatch(tinyConfig, { seed: 3, batchSize: 5, ignoreEvery: 3 });

describe('an objective', () => {
  it('is known by its name, or the peer that named it is told which there are', () => {
    expect(objectiveOf(nextToken.name, configSchema.parse({}).task)).toBe(nextToken);
    expect(() => objectiveOf('telepathy', configSchema.parse({}).task)).toThrow(PeerError);
    expect(() => objectiveOf('telepathy', configSchema.parse({}).task)).toThrow(
      /\(next-token, packed-tokens, classes, dpo, grpo, ppo, reward, seq2seq\), received telepathy/,
    );
  });

  it('may have sums of its own, on the device or not, which add up over microbatches', async () => {
    const trainer = new Trainer(new Float64Engine(), tinyConfig, { seed: 1, objective: measured });
    const lossScale = 1 / targetsOf(batch);
    const parts = [samplesOf(batch, 0, 2), samplesOf(batch, 2, 3)];
    let sums = await trainer.microStep({ ...parts[0]!, lossScale });
    sums = addSums(sums, await trainer.microStep({ ...parts[1]!, lossScale }));
    expect(sums).toMatchObject({ weight: targetsOf(batch), samples: 5 });
    expect(sums['again']).toBe(sums.loss);

    const plain = new Trainer(new Float64Engine(), tinyConfig, { seed: 1 });
    const whole = await plain.microStep({ ...batch, lossScale });
    expect(whole.loss).toBeCloseTo(sums.loss, 6);
    for (const [i, grad] of trainer.parameters.grads.tensors.entries()) {
      const expected = numbers(plain.parameters.grads.tensors[i]!);
      for (const [j, value] of numbers(grad).entries()) expect(value).toBeCloseTo(expected[j]!, 12);
    }
  });

  it('evaluates any number of batches in one loop, which tells of each', async () => {
    const trainer = new Trainer(new Float64Engine(), tinyConfig, { seed: 1, objective: measured });
    const parts = [0, 1, 2, 3, 4].map((from) => samplesOf(batch, from, 1));
    const seen: number[] = [];
    const sums = await evaluateBatches(trainer, parts, ({ sampleCount }) => seen.push(sampleCount));
    expect(seen).toEqual([1, 1, 1, 1, 1]);
    const whole = await trainer.evaluate(batch);
    expect(sums).toMatchObject({ weight: whole.weight, samples: 5 });
    expect(meansOf(sums).loss).toBeCloseTo(meansOf(whole).loss, 6);
  });

  it('gives zeros for a batch without targets', async () => {
    const trainer = new Trainer(new Float64Engine(), tinyConfig, { seed: 1 });
    const masked = randomBatch(tinyConfig, { seed: 3, batchSize: 2, ignoreEvery: 1 });
    expect(await trainer.microStep({ ...masked, lossScale: 1 })).toEqual({ weight: 0, loss: 0 });
    for (const grad of trainer.parameters.grads.tensors) expect(numbers(grad).every((value) => value === 0)).toBe(true);
  });
});

it.each([Number.NaN, Number.POSITIVE_INFINITY])(
  'what to do about a number that is %d is said once, for all',
  (value) => {
    expect(() => checkFinite('the loss of step 3', value)).toThrow(UserError);
    expect(() => checkFinite('the loss of step 3', value)).toThrow(
      `the loss of step 3 is ${value}, expected a finite number: training has diverged. Use a lower schedule.learningRate`,
    );
    expect(() => checkFinite('the loss of step 3', 1e300)).not.toThrow();
  },
);
