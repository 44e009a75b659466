import { expect, it } from 'vitest';
import { addSums, meansOf, noSums, type Sums, totalOf } from '../../../src/base/sums.ts';

it('sums add up name by name, and means are made of them at the end', () => {
  const total = [noSums, { weight: 1, loss: 4, correct: 1 }, { weight: 3, loss: 4 }].reduce(addSums);
  expect(total).toEqual({ weight: 4, loss: 8, correct: 1 });
  expect(meansOf(total)).toEqual({ loss: 2, others: { correct: 0.25 } });
});

it('a sum may have the name of what every object inherits', () => {
  const part = { weight: 1, loss: 1, constructor: 2, valueOf: 3 } as unknown as Sums;
  const total = addSums(addSums(noSums, part), part);
  expect(Object.entries(total)).toEqual(Object.entries({ weight: 2, loss: 2, constructor: 4, valueOf: 6 }));
  expect(Object.entries(totalOf([part, part]))).toEqual(Object.entries(total));
});

it('a total has the bits of sums that are added one after the other', () => {
  const parts = Array.from({ length: 50 }, (_, i) => ({
    weight: i,
    loss: 1 / (i + 3),
    ...(i % 3 === 0 && { late: i / 7 }),
  }));
  const total = totalOf(parts);
  expect(total).toStrictEqual(parts.reduce<Sums>(addSums, noSums));
  expect(Object.keys(total)).toEqual(['weight', 'loss', 'late']);
  expect(noSums).toEqual({ weight: 0, loss: 0 });
});

it('over no targets there is no mean', () => {
  expect(meansOf(noSums)).toEqual({ loss: 0, others: {} });
});
