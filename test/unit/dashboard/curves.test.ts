import { expect, it } from 'vitest';
import { type Cell, type ChartLine, indexFor, newestOf } from '../../../src/dashboard/page/curves.ts';

const curve: ChartLine = { name: 'training', isValidation: false, colour: 0 };
const validation: ChartLine = { name: 'validation', isValidation: true, colour: 1 };

/** Steps 4, 6, 8, 12: points of the curve stand for 4 steps each, and step 6 was evaluated. */
const losses: Cell[] = [4, undefined, 3, 2];
const validations: Cell[] = [undefined, 3.5, undefined, undefined];

it('a step between two points of a curve is in the next one', () => {
  expect([0, 1, 2, 3].map((index) => losses[indexFor(curve, losses, index)])).toEqual([4, 3, 3, 2]);
});

it('a validation is shown at its own step alone', () => {
  expect([0, 1, 2, 3].map((index) => validations[indexFor(validation, validations, index)])).toEqual([
    undefined,
    3.5,
    undefined,
    undefined,
  ]);
});

it('after the end of its run a curve has no value', () => {
  const ended: Cell[] = [4, 3, undefined, undefined];
  expect(ended[indexFor(curve, ended, 2)]).toBeUndefined();
});

it('what is not known is not taken from a neighbour', () => {
  const unknown: Cell[] = [null, 2];
  expect(unknown[indexFor(curve, unknown, 0)]).toBeNull();
});

it('the newest value is the last that is known', () => {
  expect(newestOf(losses)).toBe(2);
  expect(newestOf(validations)).toBe(3.5);
  expect(newestOf([null, undefined])).toBeUndefined();
});
