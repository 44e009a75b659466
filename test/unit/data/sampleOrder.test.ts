import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type CorpusShare,
  type SampleOptions,
  sampleStart,
  turnOf,
  windowsOfEpoch,
} from '../../../src/data/sampleOrder.ts';

const one = (tokens: number): CorpusShare[] => [{ tokens, weight: 1 }];

/** The starts of the first `count` samples of a run. */
function starts(corpora: readonly CorpusShare[], count: number, options: Partial<SampleOptions> = {}): number[] {
  const globalBatchSize = 4;
  return Array.from({ length: count }, (_, n) => {
    const place = { step: Math.floor(n / globalBatchSize), index: n % globalBatchSize };
    return sampleStart(corpora, { seed: 1, globalBatchSize, blockSize: 8, sampler: 'shuffled', ...place, ...options });
  });
}

describe('shuffled', () => {
  it('takes every window once an epoch, inside the corpus, without overlap', () => {
    fc.assert(
      fc.property(fc.integer({ min: 9, max: 2_000 }), fc.nat(2 ** 32 - 1), (tokens, seed) => {
        const windows = windowsOfEpoch(tokens, 8);
        for (const epoch of [0, 1]) {
          const found = starts(one(tokens), 2 * windows, { seed }).slice(epoch * windows, (epoch + 1) * windows);
          const sorted = found.toSorted((a, b) => a - b);
          expect(sorted).toEqual(Array.from({ length: windows }, (_, i) => sorted[0]! + 8 * i));
          expect(sorted[0]).toBeGreaterThanOrEqual(0);
          expect(sorted.at(-1)! + 8 + 1).toBeLessThanOrEqual(tokens);
        }
      }),
    );
  });

  it('has another order and another offset in every epoch, and for every seed', () => {
    const windows = windowsOfEpoch(1_000, 8);
    const found = starts(one(1_000), 20 * windows);
    const epochs = Array.from({ length: 20 }, (_, epoch) => found.slice(epoch * windows, (epoch + 1) * windows));
    expect(new Set(epochs.map((epoch) => epoch[0]! % 8)).size).toBeGreaterThan(4);
    expect(new Set(epochs.map((epoch) => epoch.map((start) => start - (epoch[0]! % 8)).join())).size).toBe(20);
    expect(starts(one(1_000), windows, { seed: 2 })).not.toEqual(epochs[0]);
  });

  it.each([
    [3_071, 1_024],
    [9, 8],
    [15, 8],
    [16, 8],
    [17, 8],
    [100, 8],
    [1_003, 8],
  ])('trains on every one of %i tokens over the epochs, in windows of %i', (tokens, blockSize) => {
    const trained = new Set<number>();
    const samples = 40 * blockSize * windowsOfEpoch(tokens, blockSize);
    for (const start of starts(one(tokens), Math.min(samples, 60_000), { blockSize })) {
      // As targets: the first token of a window is what the others follow from.
      for (let at = start + 1; at <= start + blockSize; at++) trained.add(at);
      if (trained.size === tokens - 1) break;
    }
    expect(trained.size).toBe(tokens - 1);
  });

  it('never changes: a resumed run of an older version must see the same samples', () => {
    expect(starts(one(1_000_000), 4)).toEqual([595928, 567808, 950048, 771384]);
  });
});

describe('a mixture', () => {
  const corpora: CorpusShare[] = [
    { tokens: 900, weight: 5 },
    { tokens: 500, weight: 3 },
    { tokens: 700, weight: 2 },
  ];

  it('gives each corpus more than its share less one, and fewer than its share and as many as there are others', () => {
    // Multiples of 2^-20 of what is left, so that no weight is rounded.
    const units = fc.array(fc.integer({ min: 1, max: 2 ** 20 - 1 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(units, (each) => {
        let left = 1;
        const shares = each.map((unit) => {
          const share = (left * unit) / 2 ** 20;
          left -= share;
          return share;
        });
        shares.push(left);
        const mixture = shares.map((weight) => ({ tokens: 100, weight }));
        const counts = shares.map(() => 0);
        const extremes = { most: 0, least: 0, first: 0 };
        for (let n = 1; n <= 300; n++) {
          counts[turnOf(mixture, n - 1).corpus]!++;
          const more = shares.map((share, i) => counts[i]! - n * share);
          extremes.most = Math.max(extremes.most, ...more);
          extremes.least = Math.min(extremes.least, ...more);
          extremes.first = Math.max(extremes.first, Math.abs(counts[0]! - Math.floor((n * each[0]!) / 2 ** 20)));
        }
        expect(extremes.first).toBe(0);
        expect(extremes.least).toBeGreaterThan(-1 - 1e-9);
        expect(extremes.most).toBeLessThan(shares.length - 1 + 1e-9);
      }),
      { numRuns: 50 },
    );
  });

  it('shares out the samples by the weights, at all times to within one or two', () => {
    const counts = [0, 0, 0];
    for (let sample = 0; sample < 5_000; sample++) {
      const { corpus, number } = turnOf(corpora, sample);
      expect(number).toBe(counts[corpus]);
      counts[corpus]!++;
      for (const [i, { weight }] of corpora.entries()) {
        expect(Math.abs(counts[i]! - ((sample + 1) * weight) / 10)).toBeLessThan(2);
      }
    }
  });

  it('counts on for any weights and far into a run', () => {
    const weight = fc.double({ min: 0.001, max: 1_000, noNaN: true });
    fc.assert(
      fc.property(fc.array(weight, { minLength: 1, maxLength: 6 }), fc.nat(2 ** 31), (weights, sample) => {
        const mixture = weights.map((w) => ({ tokens: 100, weight: w }));
        const [now, next] = [turnOf(mixture, sample), turnOf(mixture, sample + 1)];
        if (now.corpus === next.corpus) expect(next.number).toBe(now.number + 1);
      }),
    );
  });

  it.each(['random', 'shuffled'] as const)(
    'draws %s windows that do not cross from one corpus to the next',
    (sampler) => {
      const borders = [0, 900, 1_400, 2_100];
      const found = starts(corpora, 4_000, { sampler });
      for (const start of found) {
        const corpus = borders.findLastIndex((border) => border <= start);
        expect(start + 8 + 1).toBeLessThanOrEqual(borders[corpus + 1]!);
      }
      const inFirst = found.filter((start) => start < 900).length;
      expect(inFirst).toBe(2_000);
    },
  );

  it('takes every window of each corpus once in an epoch of that corpus', () => {
    const second = starts(corpora, 2_000).filter((start) => start >= 900 && start < 1_400);
    const windows = windowsOfEpoch(500, 8);
    expect(new Set(second.slice(0, windows)).size).toBe(windows);
  });
});
