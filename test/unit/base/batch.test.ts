import { expect, it } from 'vitest';
import { type Batch, microBatches, samplesOf } from '../../../src/base/batch.ts';

const batch: Batch = {
  sampleCount: 5,
  arrays: {
    pairs: { shape: [2], data: Int32Array.from({ length: 10 }, (_, i) => i) },
    scores: { shape: [], data: Float32Array.from({ length: 5 }, (_, i) => i / 2) },
  },
};

it('a slice is the same memory, of every array', () => {
  const slice = samplesOf(batch, 1, 2);
  expect(slice.sampleCount).toBe(2);
  expect([...slice.arrays['pairs']!.data]).toEqual([2, 3, 4, 5]);
  expect([...slice.arrays['scores']!.data]).toEqual([0.5, 1]);
  expect(slice.arrays['pairs']!.data.buffer).toBe(batch.arrays['pairs']!.data.buffer);
});

it.each([
  [-1, 1],
  [4, 2],
  [0, -1],
])('there is no slice from %i of %i samples', (from, count) => {
  expect(() => samplesOf(batch, from, count)).toThrow(/a batch of 5 samples has no/);
});

it('microbatches are every sample once, in order', () => {
  const parts = [...microBatches(batch, 2)];
  expect(parts.map(({ from, batch: part }) => [from, part.sampleCount])).toEqual([
    [0, 2],
    [2, 2],
    [4, 1],
  ]);
  expect(parts.flatMap(({ batch: part }) => [...part.arrays['pairs']!.data])).toEqual([...Array(10).keys()]);
  expect([...microBatches(samplesOf(batch, 0, 0), 2)]).toEqual([]);
});
