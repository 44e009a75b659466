/** Each example is used exactly once per epoch, and a step is a pure function of the samples before it. */
import { describe, expect, it } from 'vitest';
import { ExampleOrder, heldOut } from '../../../../src/data/examples/exampleOrder.ts';
import { exampleRunData } from '../../../../src/data/examples/exampleRunData.ts';
import type { ExampleSet } from '../../../../src/data/examples/exampleSet.ts';
import type { TrainingOptions } from '../../../../src/data/runData.ts';
import { createTokenizer } from '../../../../src/data/tokenizers/openTokenizer.ts';
import { asTokenBatch, targetsOf, tokenSampleFields } from '../../../../src/task/nextToken.ts';

/** Example i has the tokens i + 1, as many as `lengths` says; only the last is a target. */
async function setOf(lengths: readonly number[], validation = lengths.slice(0, 3)): Promise<ExampleSet> {
  const sampleOf = (length: number, i: number) => ({
    tokens: new Int32Array(length).fill(i + 1),
    targets: Int32Array.from({ length }, (_, t) => (t === length - 1 ? 0 : -1)),
  });
  return {
    form: { fields: tokenSampleFields, objective: 'next-token', weight: targetsOf },
    tokenizer: await createTokenizer('byte', ''),
    labels: [],
    train: lengths.map(sampleOf),
    validation: validation.map(sampleOf),
    description: 'numbered examples',
    sha256: '',
  };
}

const options: TrainingOptions = { seed: 5, globalBatchSize: 4, blockSize: 100, sampler: 'random', epochs: 3 };
const lengths = [1, 7, 31, 33, 64, 65, 90, 100, 2, 3];

/** The numbers of the examples of a batch; 0 for padding. */
function examplesIn(batch: Parameters<typeof asTokenBatch>[0]): number[] {
  const { sampleCount, arrays } = asTokenBatch(batch);
  const [length = 0] = arrays.tokens.shape;
  return Array.from({ length: sampleCount }, (_, row) => arrays.tokens.data[row * length]!);
}

describe('the order of examples', () => {
  it('is another permutation in each epoch, and depends on the seed alone', () => {
    const [one, again, other] = [5, 5, 6].map((seed) => new ExampleOrder(50, seed));
    const epochOf = (order: ExampleOrder, epoch: number) =>
      Array.from({ length: 50 }, (_, place) => order.at(epoch * 50 + place));
    const all = Array.from({ length: 50 }, (_, i) => i);
    const epochs = [0, 1, 2].map((epoch) => epochOf(one!, epoch));
    for (const epoch of epochs) expect(epoch.toSorted((a, b) => a - b)).toEqual(all);
    expect(new Set(epochs.map((epoch) => epoch.join())).size).toBe(3);
    // Backwards: nothing is consumed.
    expect([2, 1, 0].map((epoch) => epochOf(again!, epoch)).reverse()).toEqual(epochs);
    expect(epochOf(other!, 0)).not.toEqual(epochs[0]);
  });

  it('of the held out is pure, and of the size asked for', () => {
    expect(heldOut(40, 0.1, 7)).toEqual(heldOut(40, 0.1, 7));
    expect(heldOut(40, 0.1, 7)).not.toEqual(heldOut(40, 0.1, 8));
    expect(new Set(heldOut(40, 0.25, 7)).size).toBe(10);
    expect(heldOut(4, 0.1, 7)).toEqual([]);
  });
});

describe('the batches of a run on examples', () => {
  it('use each example exactly as often as there are epochs, and pad the last step', async () => {
    const training = exampleRunData(await setOf(lengths), 0).training(options);
    expect(training.sampleLimit).toBe(30);
    const steps = Array.from({ length: 8 }, (_, step) => examplesIn(training.batch(step)));
    expect(steps[7]!.slice(2)).toEqual([0, 0]);
    expect(training.batch(7).weight).toBe(2);
    const used = steps.flat().filter((example) => example > 0);
    for (let example = 1; example <= 10; example++) {
      expect(used.filter((one) => one === example)).toHaveLength(3);
      expect(used.slice(0, 10)).toContain(example);
    }
  });

  it('are the same after a change of the batch size as if all steps had had the new one', async () => {
    const data = exampleRunData(await setOf(lengths), 0);
    const whole = data.training({ ...options, globalBatchSize: 30 }).batch(0);
    // 3 steps of 4, then steps of 6.
    const before = (step: number) => (step <= 3 ? 4 * step : 12 + 6 * (step - 3));
    const first = data.training({ ...options, samplesBefore: before });
    const second = data.training({ ...options, globalBatchSize: 6, samplesBefore: before });
    const all = [0, 1, 2].map((step) => first.batch(step)).concat([3, 4, 5].map((step) => second.batch(step)));
    expect(all.flatMap(examplesIn)).toEqual(examplesIn(whole));
  });

  it('are padded to the longest of the step, in multiples of 32, and never beyond the context', async () => {
    const data = exampleRunData(await setOf(lengths), 0);
    const training = data.training(options);
    for (let step = 0; step < 7; step++) {
      const batch = training.batch(step);
      const longest = Math.max(...examplesIn(batch).map((example) => lengths[example - 1]!));
      expect(asTokenBatch(batch).arrays.tokens.shape).toEqual([Math.min(100, Math.ceil(longest / 32) * 32)]);
      expect([data.stepLengths(options)(step)]).toEqual(asTokenBatch(batch).arrays.tokens.shape);
    }
  });

  it('count tokens without padding, at every number of samples', async () => {
    const training = exampleRunData(await setOf(lengths), 0).training({ ...options, globalBatchSize: 1 });
    let tokens = 0;
    for (let samples = 0; samples <= 30; samples++) {
      expect(training.tokensIn(samples)).toBe(tokens);
      if (samples < 30) tokens += lengths[examplesIn(training.batch(samples))[0]! - 1]!;
    }
    // In any order.
    expect(training.tokensIn(7)).toBeLessThan(training.tokensIn(8));
    expect(tokens).toBe(3 * lengths.reduce((a, b) => a + b, 0));
  });

  it('never end where the config counts steps', async () => {
    const training = exampleRunData(await setOf(lengths), 0).training({ ...options, epochs: 0 });
    expect(training.sampleLimit).toBe(Number.POSITIVE_INFINITY);
    expect(examplesIn(training.batch(1_000)).every((example) => example > 0)).toBe(true);
  });
});

it('an estimate has examples spread over all of those that validate', async () => {
  const data = exampleRunData(
    await setOf(
      [5],
      Array.from({ length: 10 }, (_, i) => i + 1),
    ),
    0,
  );
  const all = data.validation({ blockSize: 100, batchSize: 2, batches: 0 });
  expect(all.count).toBe(10);
  expect(examplesIn(all.batch(0, 10))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  const some = data.validation({ blockSize: 100, batchSize: 2, batches: 2 });
  expect(examplesIn(some.batch(0, some.count))).toEqual([1, 3, 6, 8]);
  expect(some.batch(4, 0).sampleCount).toBe(0);
});
