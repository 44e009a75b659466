import { expect, it } from 'vitest';
import { samplesOf, type WeighedBatch } from '../../../src/base/batch.ts';
import { WindowBatch } from '../../../src/base/windowBatch.ts';

const arrays = {
  tokens: { shape: [3], data: Int32Array.of(1, 2, 3, 5, 6, 7) },
  targets: { shape: [3], data: Int32Array.of(2, 3, 4, 6, 7, 65_535) },
};
const make = () => new WindowBatch(['tokens', 'targets'], Uint16Array.of(1, 2, 3, 4, 5, 6, 7, 65_535), 3, 6);

it('reads as a batch of both arrays', () => {
  const batch: WeighedBatch = make();
  expect(batch.sampleCount).toBe(2);
  expect(batch.weight).toBe(6);
  expect(batch.arrays).toEqual(arrays);
  expect(batch.arrays).toBe(batch.arrays);
  expect(samplesOf(batch, 1, 1).arrays['targets']!.data).toEqual(Int32Array.of(6, 7, 65_535));
});

it('is copied with its arrays, and changed as any other', () => {
  expect({ ...make(), more: 1 }).toEqual({ sampleCount: 2, weight: 6, arrays, more: 1 });
  const changed = { ...make(), arrays: {} };
  expect(changed).toEqual({ sampleCount: 2, weight: 6, arrays: {} });
  expect(changed).not.toBeInstanceOf(WindowBatch);
});
