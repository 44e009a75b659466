import { describe, expect, it } from 'vitest';
import { samplesOf } from '../../../src/base/batch.ts';
import { trainBatch } from '../../../src/data/sampler.ts';
import type { TokenSequence } from '../../../src/data/tokenArray.ts';
import { TrainBatches } from '../../../src/data/trainBatches.ts';

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
});
