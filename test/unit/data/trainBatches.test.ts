import { describe, expect, it } from 'vitest';
import { samplesOf } from '../../../src/base/batch.ts';
import { UserError } from '../../../src/base/errors.ts';
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

  it('reads at once what is not there yet, and what a step that is done again needs', async () => {
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
