import { describe, expect, it } from 'vitest';
import { samplesOf, type WeighedBatch } from '../../../src/base/batch.ts';
import { UserError } from '../../../src/base/errors.ts';
import { WindowBatch } from '../../../src/base/windowBatch.ts';
import { windowsOfEpoch } from '../../../src/data/sampleOrder.ts';
import { trainBatch, type WindowTask } from '../../../src/data/sampler.ts';
import type { TokenSequence } from '../../../src/data/tokenArray.ts';
import { TrainBatches } from '../../../src/data/trainBatches.ts';
import { asTokenBatch, nextTokenWindows } from '../../../src/task/nextToken.ts';

const tokens = Uint16Array.from({ length: 2_000 }, (_, i) => (i * 31) % 1_000);
const options = { seed: 3, globalBatchSize: 6, blockSize: 16, sampler: 'shuffled' } as const;
const corpora = [{ tokens: tokens.length, weight: 1 }];

/** Tokens on a disk that counts who waits for it. */
function disk(fails = false) {
  const counts = { waited: 0, ahead: 0 };
  const train: TokenSequence = {
    length: tokens.length,
    subarray(from, to) {
      counts.waited++;
      return tokens.subarray(from, to);
    },
    async read(from, to) {
      counts.ahead++;
      if (fails) throw new Error('the disk is gone');
      return tokens.slice(from, to);
    },
  };
  return { counts, split: { train, corpora } };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
const expected = (step: number, from = 0, count = 6) =>
  trainBatch({ train: tokens, corpora }, { ...options, step, from, count });

describe('TrainBatches', () => {
  it('has the windows of the next steps before they are asked for', async () => {
    const { counts, split } = disk();
    const batches = new TrainBatches(split, options);
    expect(batches.batch(0)).toEqual(expected(0));
    expect(counts).toEqual({ waited: 6, ahead: 12 });
    for (let step = 1; step < 20; step++) {
      await settled();
      // Shares of two ranks.
      const batch = batches.batch(step);
      const ranks = [samplesOf(batch, 0, 4), samplesOf(batch, 4, 2)];
      for (const [from, share] of [
        [0, ranks[0]!],
        [4, ranks[1]!],
      ] as const) {
        const { weight, ...alone } = expected(step, from, share.sampleCount);
        expect(weight).toBe(16 * share.sampleCount);
        expect(share).toEqual(alone);
      }
    }
    expect(counts).toEqual({ waited: 6, ahead: 6 * 21 });
  });

  it('uses the memory of a released batch for another, and of no other batch', () => {
    const batches = new TrainBatches({ train: tokens, corpora }, options);
    const numbersOf = (batch: WeighedBatch) => (batch instanceof WindowBatch ? batch.windows.numbers : undefined);
    const [kept, released] = [batches.batch(0), batches.batch(1)];
    batches.release(1);
    batches.release(1);
    batches.release(50);
    const next = batches.batch(2);
    expect(numbersOf(next)).toBe(numbersOf(released));
    expect(next).toEqual(expected(2));
    expect(kept).toEqual(expected(0));
    expect(batches.batch(0)).toBe(kept);
    // A step that is made again, as after the loss of every state.
    expect(numbersOf(batches.batch(1))).not.toBe(numbersOf(next));
    expect(batches.batch(1)).toEqual(expected(1));
    expect(batches.batch(2)).toBe(next);
  });

  it('fetches the windows of 64 steps ahead from far away, each once', () => {
    const fetched: string[] = [];
    const train: TokenSequence = {
      length: tokens.length,
      subarray: (from, to) => tokens.subarray(from, to),
      prefetch: (from, to) => fetched.push(`${from} ${to}`),
    };
    const batches = new TrainBatches({ train, corpora }, options);
    batches.expect(10);
    expect(fetched).toHaveLength(64 * 6);
    for (let step = 10; step < 20; step++) batches.batch(step);
    expect(fetched).toHaveLength(73 * 6);
    const starts = fetched.slice(0, 6).map((each) => Number(each.split(' ')[0]));
    expect(starts.map((start) => tokens[start])).toEqual(
      Array.from({ length: 6 }, (_, i) => asTokenBatch(expected(10)).arrays.tokens.data[i * 16]),
    );
    // A run that lost its state goes back.
    batches.batch(3);
    expect(fetched).toHaveLength((73 + 64) * 6);
  });

  it.each(['random', 'shuffled'] as const)(
    'continues after the samples so far where the size has changed: %s',
    (sampler) => {
      const { split } = disk();
      // 40 steps of 6 samples, then 20 of 3: in a run of 3 samples from the start these are the steps from 80 on.
      const samplesBefore = (step: number) => (step <= 40 ? 6 * step : 240 + 3 * (step - 40));
      const after = new TrainBatches(split, { ...options, sampler, globalBatchSize: 3, samplesBefore });
      const whole = new TrainBatches(split, { ...options, sampler, globalBatchSize: 3 });
      const first = new TrainBatches(split, { ...options, sampler });
      const windowsOf = (batches: TrainBatches, step: number) => {
        const { sampleCount, arrays } = asTokenBatch(batches.batch(step));
        return Array.from({ length: sampleCount }, (_, i) => arrays.tokens.data.slice(16 * i, 16 * (i + 1)).join());
      };
      const trained = [...Array(40).keys()].flatMap((step) => windowsOf(first, step));
      trained.push(...[40, 41, 42, 43, 44].flatMap((step) => windowsOf(after, step)));
      const epoch = windowsOfEpoch(tokens.length, 16);
      if (sampler === 'shuffled') {
        for (const step of [40, 41, 59]) expect(windowsOf(after, step)).toEqual(windowsOf(whole, step + 40));
        expect(new Set(trained.slice(epoch, 2 * epoch)).size).toBe(epoch);
      } else {
        // Its windows may be equal, but are drawn anew.
        expect(windowsOf(after, 40)).not.toEqual(windowsOf(first, 20).slice(0, 3));
      }
    },
  );

  it('forgets a step that it numbered otherwise', () => {
    const { split } = disk();
    let before = 60;
    const batches = new TrainBatches(split, { ...options, samplesBefore: () => before });
    expect(batches.batch(10)).toEqual(expected(10));
    before = 66;
    expect(batches.batch(10)).toEqual(expected(11));
  });

  it('reads at once what is not in memory yet, and what a repeated step needs', async () => {
    const { counts, split } = disk();
    const batches = new TrainBatches(split, options);
    for (const step of [10, 11, 12, 11, 10, 3, 4]) {
      expect(batches.batch(step)).toEqual(expected(step));
      await settled();
    }
    // The first, 10 again after it, and 3: of 11 the windows are kept.
    expect(counts.waited).toBeLessThanOrEqual(18);
  });

  it('leaves it to the read that is waited for to say what is wrong', async () => {
    const { counts, split } = disk(true);
    const batches = new TrainBatches(split, options);
    for (const step of [0, 1, 2]) {
      expect(batches.batch(step)).toEqual(expected(step));
      await settled();
    }
    expect(counts.waited).toBe(18);
  });

  it('weighs a step by its targets, all of its ranks together', () => {
    const { split } = disk();
    const even: WindowTask = {
      ...nextTokenWindows,
      encode: (window) => {
        const sample = nextTokenWindows.encode(window);
        return { ...sample, targets: Array.from(sample['targets']!, (target) => (target % 2 === 0 ? target : -1)) };
      },
    };
    const batches = new TrainBatches({ ...split, task: even }, options);
    const batch = batches.batch(4);
    const { targets } = asTokenBatch(batch).arrays;
    expect(batch.weight).toBe(targets.data.filter((target) => target >= 0).length);
    expect(batch.weight).toBeLessThan(6 * 16);
    expect(batch.weight).toBeGreaterThan(0);
  });

  it('encodes a step once, however many ranks ask for their share', () => {
    const { split } = disk();
    let encoded = 0;
    const encode: WindowTask['encode'] = (window) => {
      encoded++;
      return nextTokenWindows.encode(window);
    };
    const batches = new TrainBatches({ ...split, task: { ...nextTokenWindows, encode } }, options);
    for (const step of [0, 1, 0, 1, 2, 1]) batches.batch(step);
    expect(encoded).toBe(3 * 6);
  });

  it('refuses a step without a single target, which it names', () => {
    const { split } = disk();
    const none: WindowTask = { ...nextTokenWindows, encode: (window) => ({ tokens: window.subarray(1), targets: [] }) };
    const batches = new TrainBatches({ ...split, task: none }, options);
    expect(() => batches.batch(6)).toThrow(UserError);
    expect(() => batches.batch(6)).toThrow(/step 7 has nothing to learn from: none of its 6 samples has a target/);
  });
});
