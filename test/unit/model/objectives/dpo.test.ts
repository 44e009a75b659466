/** Preference pairs: where training starts, what is counted, and that padding adds nothing. */
import { describe, expect, it } from 'vitest';
import { type Batch, samplesOf } from '../../../../src/base/batch.ts';
import { meansOf } from '../../../../src/base/sums.ts';
import { dpo } from '../../../../src/model/objectives/dpo.ts';
import { logisticLoss } from '../../../../src/model/objectives/pairs.ts';
import { Trainer } from '../../../../src/model/training.ts';
import { checkBatch } from '../../../../src/task/fields.ts';
import { pairWeight } from '../../../../src/task/pairBatch.ts';
import { Float64Engine, numbers } from '../../../parity/model/float64Engine.ts';
import { randomBatch, tinyConfig } from '../../../parity/model/tinyModels.ts';

const [chosen, rejected] = [4, 5].map((seed) => randomBatch(tinyConfig, { seed, batchSize: 3, ignoreEvery: 5 }).arrays);

function pairs(reference: readonly number[]): Batch {
  return {
    sampleCount: 3,
    arrays: {
      chosen: chosen!.tokens,
      chosenTargets: chosen!.targets,
      rejected: rejected!.tokens,
      rejectedTargets: rejected!.targets,
      reference: { shape: [2], data: Float32Array.from(reference) },
    },
  };
}

/** The same pairs, and one more of which `masked` sides have no target. */
function withPadding(batch: Batch, masked: readonly string[]): Batch {
  const arrays = Object.entries(batch.arrays).map(([name, { shape, data }]) => {
    const size = data.length / batch.sampleCount;
    const copy = data.constructor as Int32ArrayConstructor;
    const longer = copy.from([...data, ...data.subarray(0, size)]);
    if (masked.includes(name)) longer.fill(-1, data.length);
    return [name, { shape, data: longer }];
  });
  return { sampleCount: batch.sampleCount + 1, arrays: Object.fromEntries(arrays) };
}

const newTrainer = () => new Trainer(new Float64Engine(), tinyConfig, { seed: 1, objective: dpo({ beta: 0.5 }) });

const gradientsOf = ({ parameters }: Trainer) => parameters.grads.tensors.map((grad) => [...numbers(grad)]);

/** The log probabilities of each pair: its sums, alone in a batch. */
async function logprobsOf(trainer: Trainer): Promise<number[]> {
  const all: number[] = [];
  for (let pair = 0; pair < 3; pair++) {
    const sums = await trainer.evaluate(samplesOf(pairs([0, 0, 0, 0, 0, 0]), pair, 1));
    all.push(sums['chosenLogprob']!, sums['rejectedLogprob']!);
  }
  return all;
}

describe('DPO', () => {
  it('starts at log 2 with a margin of 0 if the reference is the model itself', async () => {
    const trainer = newTrainer();
    const batch = pairs(await logprobsOf(trainer));
    checkBatch(batch, trainer.objective.fields(tinyConfig));
    const { loss, others } = meansOf(await trainer.microStep({ ...batch, lossScale: 1 / 3 }));
    expect(Math.abs(loss - Math.LN2)).toBeLessThan(1e-6);
    expect(Math.abs(others['margin']!)).toBeLessThan(1e-6);
    // Random weights give each of the 29 tokens about the same probability.
    const targets = chosen!.targets.data.filter((target) => target >= 0).length;
    expect(others['chosenLogprob']! / (-Math.log(29) * (targets / 3))).toBeCloseTo(1, 1);
  });

  it('has as sums what a reader can compute from the log probabilities', async () => {
    const trainer = newTrainer();
    const logprobs = await logprobsOf(trainer);
    const shifts = [0, 3, -1];
    const reference = logprobs.map((value, i) => value - (i % 2 === 0 ? shifts[i >> 1]! : 0));
    const sums = await trainer.evaluate(pairs(reference));
    const margins = shifts.map((shift) => 0.5 * shift);
    const loss = margins.reduce((sum, margin) => sum - Math.log(1 / (1 + Math.exp(-margin))), 0);
    expect(sums.weight).toBe(3);
    expect(sums.loss).toBeCloseTo(loss, 5);
    expect(sums['margin']).toBeCloseTo(1, 5);
    expect(sums['chosenLogprob']).toBeCloseTo(logprobs[0]! + logprobs[2]! + logprobs[4]!, 4);
    expect(sums['rejectedLogprob']).toBeCloseTo(logprobs[1]! + logprobs[3]! + logprobs[5]!, 4);
    expect((await trainer.evaluate(samplesOf(pairs(reference), 1, 1)))['accuracy']).toBe(1);
    expect((await trainer.evaluate(samplesOf(pairs(reference), 2, 1)))['accuracy']).toBe(0);
  });

  it.each([[['chosenTargets', 'rejectedTargets']], [['rejectedTargets']]])(
    'gets nothing from a pair without targets in %j',
    async (masked) => {
      const [plain, padded] = [newTrainer(), newTrainer()];
      const batch = pairs([-20, -21, -22, -20, -19, -18]);
      const more = withPadding(batch, masked);
      expect([batch, more].map(pairWeight)).toEqual([3, 3]);
      const expected = await plain.microStep({ ...batch, lossScale: 1 / 3 });
      expect(await padded.microStep({ ...more, lossScale: 1 / 3 })).toEqual(expected);
      expect(gradientsOf(padded)).toEqual(gradientsOf(plain));
      const alone = newTrainer();
      expect(await alone.microStep({ ...samplesOf(more, 3, 1), lossScale: 1 / 3 })).toEqual({ weight: 0, loss: 0 });
      expect(
        gradientsOf(alone)
          .flat()
          .every((value) => value === 0),
      ).toBe(true);
    },
  );

  it('has a finite loss and slope for any margin', () => {
    expect(logisticLoss(0)).toEqual({ loss: Math.LN2, slope: -0.5 });
    expect(logisticLoss(800)).toEqual({ loss: 0, slope: -0 });
    expect(logisticLoss(-800)).toEqual({ loss: 800, slope: -1 });
    for (const margin of [-3, -1e-3, 2]) {
      const change = (logisticLoss(margin + 1e-5).loss - logisticLoss(margin - 1e-5).loss) / 2e-5;
      expect(logisticLoss(margin).slope).toBeCloseTo(change, 8);
    }
  });
});
