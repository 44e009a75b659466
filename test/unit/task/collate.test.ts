import { expect, it } from 'vitest';
import { collate, type Task } from '../../../src/task/task.ts';

const fields: Task<never>['fields'] = {
  tokens: { dtype: 'int32', padding: 0 },
  targets: { dtype: 'int32', padding: -1 },
  reference: { dtype: 'float32', padding: 0, length: 2 },
};

it('pads arrays to the length of the batch, except those with a length of their own', () => {
  const batch = collate(
    fields,
    [
      { tokens: [3, 4, 5], targets: [4, 5, 6], reference: [-1.5, -2] },
      { tokens: [], targets: [], reference: [] },
    ],
    4,
  );
  expect(batch).toEqual({
    sampleCount: 2,
    arrays: {
      tokens: { shape: [4], data: Int32Array.of(3, 4, 5, 0, 0, 0, 0, 0) },
      targets: { shape: [4], data: Int32Array.of(4, 5, 6, -1, -1, -1, -1, -1) },
      reference: { shape: [2], data: Float32Array.of(-1.5, -2, 0, 0) },
    },
  });
});

it('is told by a bug which array is too long or missing', () => {
  const sample = { tokens: [3], targets: [4], reference: [-1, -2, -3] };
  expect(() => collate(fields, [sample], 4)).toThrow('a sample has no reference of at most 2 numbers');
  expect(() => collate(fields, [{ tokens: [3], targets: [4] }], 4)).toThrow('no reference');
});
