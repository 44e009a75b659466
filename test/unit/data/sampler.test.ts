import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Batch } from '../../../src/base/batch.ts';
import { InvariantError } from '../../../src/base/errors.ts';
import { windowStart } from '../../../src/data/sampleOrder.ts';
import { trainBatch, valBatches, valBatchWindows, valWindowCount, valWindows } from '../../../src/data/sampler.ts';
import { asTokenBatch } from '../../../src/task/nextToken.ts';

const seed = fc.nat(2 ** 32 - 1);
const step = fc.nat(1_000_000);
const index = fc.nat(100_000);

/** One corpus of tokens that tell their own position. */
const oneCorpus = (length: number) => ({ train: counting(length), corpora: [{ tokens: length, weight: 1 }] });
const random = { globalBatchSize: 64, sampler: 'random' } as const;

/** Tokens that tell their own position. */
const counting = (length: number) => Uint32Array.from({ length }, (_, i) => i);

describe('windowStart', () => {
  it('leaves room for the window and its last target, on any corpus up to 2^33 tokens', () => {
    fc.assert(
      fc.property(seed, step, index, fc.integer({ min: 1, max: 4096 }), fc.nat(2 ** 33), (s, t, i, blockSize, more) => {
        const tokens = blockSize + 1 + more;
        const start = windowStart({ seed: s, step: t, index: i, tokens, blockSize });
        expect(Number.isInteger(start)).toBe(true);
        expect(start).toBeGreaterThanOrEqual(0);
        expect(start + blockSize + 1).toBeLessThanOrEqual(tokens);
      }),
    );
  });

  it('is uniform: every start is drawn, and in equal parts of the corpus equally often', () => {
    const draws = 64_000;
    const blockSize = 4;
    for (const starts of [1, 2, 3, 64, 2 ** 32 + 12_345]) {
      const bins = Math.min(starts, 64);
      const counts = new Float64Array(bins);
      for (let i = 0; i < draws; i++) {
        const start = windowStart({ seed: 1337, step: i >> 4, index: i & 15, tokens: starts + blockSize, blockSize });
        counts[Math.floor((start / starts) * bins)] = (counts[Math.floor((start / starts) * bins)] ?? 0) + 1;
      }
      const expected = draws / bins;
      const chiSquared = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
      // 63 degrees of freedom: above 120 once in 10^5; the seed is fixed, so this cannot fail by chance later.
      expect(chiSquared, `${starts} starts`).toBeLessThan(120);
    }
  });

  it('reaches starts that differ in the low bits only, on a large corpus', () => {
    const starts = Array.from({ length: 2000 }, (_, i) =>
      windowStart({ seed: 1, step: 0, index: i, tokens: 2 ** 33, blockSize: 1 }),
    );
    const odd = starts.filter((start) => start % 2 === 1).length;
    expect(odd).toBeGreaterThan(880);
    expect(odd).toBeLessThan(1120);
    expect(new Set(starts).size).toBe(2000);
  });

  it('depends on seed, step and index', () => {
    const base = { seed: 1, step: 2, index: 3, tokens: 2 ** 40, blockSize: 8 };
    const all = [base, { ...base, seed: 2 }, { ...base, step: 3 }, { ...base, index: 4 }].map(windowStart);
    expect(new Set(all).size).toBe(4);
  });

  it('never changes: a resumed run of an older version must see the same samples', () => {
    const starts = [0, 1, 2].map((i) =>
      windowStart({ seed: 1337, step: 5, index: i, tokens: 1_003_854, blockSize: 64 }),
    );
    expect(starts).toEqual([662300, 565446, 242450]);
  });

  it('refuses a corpus without a complete window', () => {
    expect(() => windowStart({ seed: 1, step: 0, index: 0, tokens: 8, blockSize: 8 })).toThrow(InvariantError);
  });
});

function numbersOf(batch: Batch) {
  const { tokens, targets } = asTokenBatch(batch).arrays;
  return { tokens: tokens.data, targets: targets.data };
}

describe('trainBatch', () => {
  it('gives windows and, one later, their targets', () => {
    const batch = trainBatch(oneCorpus(1000), {
      ...random,
      seed: 1,
      step: 0,
      from: 0,
      count: 5,
      blockSize: 16,
    });
    expect(batch.weight).toBe(80);
    const { tokens, targets } = numbersOf(batch);
    for (let i = 0; i < 80; i++) {
      expect(targets[i]).toBe((tokens[i] ?? 0) + 1);
      if (i % 16 > 0) expect(tokens[i]).toBe((tokens[i - 1] ?? 0) + 1);
    }
  });

  it('is the same however the global batch is divided among workers', () => {
    fc.assert(
      fc.property(
        seed,
        step,
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 6 }),
        (s, t, parts) => {
          const data = oneCorpus(500);
          const count = parts.reduce((sum, part) => sum + part, 0);
          const whole = trainBatch(data, { ...random, seed: s, step: t, from: 0, count, blockSize: 8 });
          let from = 0;
          const divided = parts.map((part) => {
            const batch = trainBatch(data, { ...random, seed: s, step: t, from, count: part, blockSize: 8 });
            from += part;
            return batch;
          });
          const all = numbersOf(whole);
          expect(divided.flatMap((part) => [...numbersOf(part).tokens])).toEqual([...all.tokens]);
          expect(divided.flatMap((part) => [...numbersOf(part).targets])).toEqual([...all.targets]);
        },
      ),
    );
  });
});

describe('validation windows', () => {
  it('make every token but the first a target exactly once, behind the token before it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 300 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 7 }),
        (length, blockSize, batchSize) => {
          const seen: number[] = [];
          let count = 0;
          for (const batch of valBatches(counting(length), { blockSize, batchSize })) {
            const { tokens, targets } = numbersOf(batch);
            expect(tokens).toHaveLength(batch.sampleCount * blockSize);
            expect(batch.sampleCount).toBeLessThanOrEqual(batchSize);
            count += batch.weight;
            for (const [i, target] of targets.entries()) {
              if (target === -1) continue;
              seen.push(target);
              expect(tokens[i]).toBe(target - 1);
            }
          }
          expect(seen).toEqual(Array.from({ length: length - 1 }, (_, i) => i + 1));
          expect(count).toBe(length - 1);
        },
      ),
    );
  });

  it('are spread over the complete split when only some are used, each at most once', () => {
    const windows = [...valBatchWindows(64 * 100 + 1, { blockSize: 64, batchSize: 4, batches: 5 })];
    expect(windows.map((batch) => batch.length)).toEqual([4, 4, 4, 4, 4]);
    expect(windows.flat()).toEqual(Array.from({ length: 20 }, (_, i) => 5 * i));
    const all = [...valBatchWindows(64 * 3 + 2, { blockSize: 64, batchSize: 3, batches: 9 })];
    expect(all).toEqual([[0, 1, 2], [3]]);
    expect(valWindowCount(64 * 3 + 2, 64)).toBe(4);
  });

  it('refuse a window that does not exist', () => {
    expect(() => valWindows(counting(65), { blockSize: 64, windows: [1] })).toThrow(InvariantError);
    expect(() => valWindows(counting(65), { blockSize: 64, windows: [-1] })).toThrow(InvariantError);
  });
});
