/** Preference pairs: where training starts, what is counted, and that padding adds nothing. */
import { describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../../src/architecture/registry.ts';
import { type Batch, samplesOf } from '../../../../src/base/batch.ts';
import { meansOf } from '../../../../src/base/sums.ts';
import { createEngine } from '../../../../src/engine/registry.ts';
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

  it('converges to the closed form π_ref · exp(r / β) / Z of a table', async () => {
    // One prompt, eight answers of one token. The reward of an answer is log k: people prefer i to j with probability k_i / (k_i + k_j),
    // so k_i copies of "i before j" and k_j of "j before i" have the exact weights of all pairs.
    const [V, beta, k] = [8, 0.5, [3, 1, 7, 2, 5, 8, 4, 6]];
    const config: ModelConfig = { architecture: 'bigram', vocabSize: V, blockSize: 1 };
    const trainer = new Trainer(await createEngine({ name: 'native', threads: 1 }), config, {
      seed: 3,
      objective: dpo({ beta }),
    });
    const { parameters, engine } = trainer;
    const table = Float32Array.from({ length: V * V }, (_, i) => Math.sin(3 * i + 1));
    parameters.writeTensor('params', 0, table);
    const probabilities = (logits: ArrayLike<number>) => {
      const powers = Array.from({ length: V }, (_, y) => Math.exp(logits[y]!));
      return powers.map((power) => power / powers.reduce((a, b) => a + b));
    };
    const reference = probabilities(table);
    const answers = [...k.keys()];
    const copies = answers.flatMap((i) =>
      answers.flatMap((j) => (i === j ? [] : Array(k[i]).fill([i, j]))),
    ) as number[][];
    const array = (data: Int32Array | Float32Array, length = 1) => ({ shape: [length], data });
    const batch: Batch = {
      sampleCount: copies.length,
      arrays: {
        chosen: array(new Int32Array(copies.length)),
        chosenTargets: array(Int32Array.from(copies, ([i]) => i!)),
        rejected: array(new Int32Array(copies.length)),
        rejectedTargets: array(Int32Array.from(copies, ([, j]) => j!)),
        reference: array(
          Float32Array.from(copies.flat(), (y) => Math.log(reference[y]!)),
          2,
        ),
      },
    };
    const lossScale = 1 / pairWeight(batch);
    const adamw = { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0, gradClip: 0 };
    const steps = 200;
    for (let step = 1; step <= steps; step++) {
      const { loss, others } = meansOf(await trainer.microStep({ ...batch, lossScale }));
      if (step === 1) {
        expect(Math.abs(loss - Math.LN2)).toBeLessThan(1e-6);
        expect(Math.abs(others['margin']!)).toBeLessThan(1e-6);
      }
      await trainer.applyAdamw({ ...adamw, learningRate: 0.1 * (1 - step / (steps + 1)), step });
    }
    const trained = new Float32Array(V * V);
    await parameters.readTensor('params', 0, trained);
    await engine.dispose();
    const policy = probabilities(trained);
    const optimum = probabilities(reference.map((p, y) => Math.log(p) + Math.log(k[y]!) / beta));
    const kl = (p: number[], q: number[]) => p.reduce((sum, at, y) => sum + at * Math.log(at / q[y]!), 0);
    expect(kl(reference, optimum)).toBeGreaterThan(0.3);
    expect(kl(policy, optimum)).toBeLessThan(1e-4);
    expect(trained.subarray(V), 'other prompts are as before').toEqual(table.subarray(V));
  });

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
