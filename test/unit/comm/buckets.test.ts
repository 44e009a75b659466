import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../../src/base/errors.ts';
import { BucketTracker, bucketsFor, makeBuckets, planFor } from '../../../src/comm/buckets.ts';

describe('makeBuckets', () => {
  it('joins small tensors, cuts large ones, takes padding along', () => {
    const plan = makeBuckets({
      offsets: [0, 4, 16, 48, 52],
      sizes: [3, 10, 30, 4, 2],
      length: 56,
      bucketBytesMax: 16 * 4,
    });
    expect(plan.buckets).toEqual([
      { start: 0, end: 16 }, // tensors 0 and 1
      { start: 16, end: 32 }, // tensor 2, cut
      { start: 32, end: 48 },
      { start: 48, end: 56 }, // tensors 3 and 4
    ]);
    expect(plan.bucketsOfTensor).toEqual([
      { first: 0, last: 0 },
      { first: 0, last: 0 },
      { first: 1, last: 2 },
      { first: 3, last: 3 },
      { first: 3, last: 3 },
    ]);
  });

  it('refuses tensors that overlap or are not in order', () => {
    expect(() => makeBuckets({ offsets: [0, 4], sizes: [5, 4], length: 8, bucketBytesMax: 64 })).toThrow(
      InvariantError,
    );
    expect(() => makeBuckets({ offsets: [4, 0], sizes: [4, 4], length: 8, bucketBytesMax: 64 })).toThrow(
      InvariantError,
    );
    expect(() => makeBuckets({ offsets: [0], sizes: [9], length: 8, bucketBytesMax: 64 })).toThrow(InvariantError);
  });

  it('covers everything, within the bound; each bucket is complete with the last of its tensors, and once', () => {
    const tensors = fc.array(fc.tuple(fc.nat(60), fc.nat(4)), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(tensors, fc.integer({ min: 1, max: 300 }), (list, bucketBytesMax) => {
        const offsets: number[] = [];
        let length = 0;
        for (const [size, padding] of list) {
          offsets.push(length);
          length += size + padding;
        }
        const plan = makeBuckets({ offsets, sizes: list.map(([size]) => size), length, bucketBytesMax });
        let at = 0;
        for (const { start, end } of plan.buckets) {
          expect(start).toBe(at);
          expect((end - start) * 4).toBeLessThanOrEqual(Math.max(4, bucketBytesMax));
          at = end;
        }
        expect(at).toBe(length);
        const tracker = new BucketTracker(plan);
        for (let step = 0; step < 2; step++) {
          tracker.reset();
          const complete = new Set<number>();
          for (const [tensor, range] of plan.bucketsOfTensor.entries()) {
            for (const bucket of tracker.ready(tensor)) {
              expect(complete.has(bucket)).toBe(false);
              complete.add(bucket);
              expect(bucket).toBeLessThanOrEqual(range.last);
              expect(plan.buckets[bucket]!.end).toBeLessThanOrEqual(offsets[tensor + 1] ?? length);
            }
          }
          expect(complete.size).toBe(plan.buckets.length);
          expect(() => tracker.ready(0)).toThrow(InvariantError);
        }
      }),
    );
  });
});

describe('buckets of many ranks', () => {
  const MiB = 2 ** 20;
  /** Tensors of some MB and of some KB, and one of 154 MB: about those of gpt-small. */
  const sizes = [...Array.from({ length: 148 }, (_, i) => (i % 3 === 0 ? 768 : 2_359_296)), 38_597_376];
  const offsets = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0));
  const length = sizes.reduce((sum, size) => sum + size, 0);
  const plan = makeBuckets({ offsets, sizes, length, bucketBytesMax: 4 * MiB });

  it('are those of the config up to 16 ranks', () => {
    for (const ranks of [1, 2, 16]) {
      expect(bucketsFor(plan.buckets, ranks)).toBe(plan.buckets);
      expect(planFor(plan, ranks)).toBe(plan);
    }
  });

  it.each([17, 64, 256, 1_024])('grow with %d ranks, so that a rank sends no more frames', (ranks) => {
    const buckets = bucketsFor(plan.buckets, ranks);
    expect(planFor(plan, ranks).buckets).toEqual(buckets);
    let at = 0;
    for (const { start, end } of buckets) {
      expect(start).toBe(at);
      at = end;
      expect(4 * (end - start)).toBeLessThanOrEqual((4 * MiB * ranks) / 16);
    }
    expect(at).toBe(length);
    // At least one frame for each segment and hop.
    const frames = (count: number, worldSize: number) => count * 2 * (worldSize - 1);
    expect(frames(buckets.length, ranks)).toBeLessThan(1.35 * frames(plan.buckets.length, 16));
  });

  it('are complete when all their parts are, each once', () => {
    const joined = planFor(plan, 100);
    const tracker = new BucketTracker(joined);
    const complete = sizes.flatMap((_, tensor) => tracker.ready(tensor));
    expect(complete).toEqual(joined.buckets.map((_, bucket) => bucket));
    for (const [tensor, { first, last }] of joined.bucketsOfTensor.entries()) {
      expect(joined.buckets[first]!.start).toBeLessThanOrEqual(offsets[tensor]!);
      expect(joined.buckets[last]!.end).toBeGreaterThanOrEqual(offsets[tensor]! + sizes[tensor]!);
    }
  });
});
