/**
 * A reward model on pairs from a model of Bradley and Terry whose reward is known, a linear function of the tokens: it reaches the accuracy of
 * the best possible judge, and a loss near the entropy of the choices.
 */
import { expect, it } from 'vitest';
import type { ModelConfig } from '../../../../src/architecture/registry.ts';
import type { Batch } from '../../../../src/base/batch.ts';
import { randomBits, randomKey } from '../../../../src/base/counterRandom.ts';
import { createEngine } from '../../../../src/engine/registry.ts';
import { logisticLoss } from '../../../../src/model/objectives/pairs.ts';
import { reward } from '../../../../src/model/objectives/reward.ts';
import { Trainer } from '../../../../src/model/training.ts';
import { pairWeight } from '../../../../src/task/pairBatch.ts';
import { tinyConfig } from '../../../parity/model/tinyModels.ts';

const [V, T] = [8, 6];
const config: ModelConfig = { ...tinyConfig, vocabSize: V, blockSize: T, nEmbd: 16, nHead: 2, labels: ['reward'] };
/** The reward of each token; that of a text is the sum. */
const rewards = Array.from({ length: V }, (_, token) => 0.9 * Math.sin(2 * token + 1));

interface Pair {
  readonly chosen: readonly number[];
  readonly rejected: readonly number[];
  /** The probability that the chosen text is chosen. */
  readonly probability: number;
}

/** Pairs of random texts, of which one is chosen with the probability that its reward gives it. */
function pairsOf(seed: number, count: number): Pair[] {
  const key = randomKey(seed, 1);
  const uniform = (index: number) => randomBits(key, index) / 2 ** 32;
  return Array.from({ length: count }, (_, pair) => {
    const at = pair * (2 * T + 1);
    const [a, b] = [0, T].map((from) => Array.from({ length: T }, (_, t) => Math.floor(V * uniform(at + from + t))));
    const difference = rewardOf(a!) - rewardOf(b!);
    const probability = 1 / (1 + Math.exp(-difference));
    return uniform(at + 2 * T) < probability
      ? { chosen: a!, rejected: b!, probability }
      : { chosen: b!, rejected: a!, probability: 1 - probability };
  });
}

function rewardOf(text: readonly number[]): number {
  return text.reduce((sum, token) => sum + rewards[token]!, 0);
}

function batchOf(pairs: readonly Pair[]): Batch {
  const array = (rows: readonly (readonly number[])[]) => ({ shape: [T], data: Int32Array.from(rows.flat()) });
  const scored = pairs.map(() => [...Array<number>(T - 1).fill(-1), 0]);
  return {
    sampleCount: pairs.length,
    arrays: {
      chosen: array(pairs.map(({ chosen }) => chosen)),
      chosenTargets: array(scored),
      rejected: array(pairs.map(({ rejected }) => rejected)),
      rejectedTargets: array(scored),
    },
  };
}

it('judges pairs as well as the rewards that they were drawn from', async () => {
  const trainer = new Trainer(await createEngine({ name: 'native', threads: 1 }), config, {
    seed: 1,
    objective: reward,
  });
  const [steps, size] = [400, 64];
  const pairs = pairsOf(1, steps * size);
  const adamw = { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0, gradClip: 1 };
  for (let step = 1; step <= steps; step++) {
    const batch = batchOf(pairs.slice((step - 1) * size, step * size));
    await trainer.microStep({ ...batch, lossScale: 1 / pairWeight(batch) });
    await trainer.applyAdamw({ ...adamw, learningRate: 0.01 * (1 - step / (steps + 1)), step });
  }
  // In expectation over the choice, so that the noise of the drawn choices is not measured.
  const total = { accuracy: 0, best: 0, loss: 0, entropy: 0 };
  const unseen = pairsOf(2, 1000);
  for (const pair of unseen) {
    const { probability: p } = pair;
    const { margin } = await trainer.evaluate(batchOf([pair]));
    total.accuracy += margin! > 0 ? p : 1 - p;
    total.best += Math.max(p, 1 - p);
    total.loss += p * logisticLoss(margin!).loss + (1 - p) * logisticLoss(-margin!).loss;
    total.entropy -= p * Math.log(p) + (1 - p) * Math.log(1 - p);
  }
  await trainer.engine.dispose();
  const [accuracy, best, loss, entropy] = Object.values(total).map((sum) => sum / unseen.length) as [
    number,
    number,
    number,
    number,
  ];
  expect(best).toBeGreaterThan(0.75); // so that guessing would fail
  expect(best - accuracy).toBeLessThan(0.01);
  expect(loss - entropy).toBeLessThan(0.02);
});
