/** What the comparison of the kernel suite notices. */
import { describe, expect, it } from 'vitest';
import { errorByRow, relativeError, unevenValues } from './harness.ts';

describe('a row that is 1,000 times smaller than the others', () => {
  const columns = 4;
  const expected = Float64Array.of(...[1, -2, 3, 4], ...[1e-3, 2e-3, -3e-3, 4e-3]);
  const wrong = expected.map((value, i) => (i >= columns ? value * 1.005 : value));

  it('is held to its own size, though beside the largest its error is nothing', () => {
    expect(relativeError(wrong, expected)).toBeLessThan(1e-5);
    expect(errorByRow(wrong, expected, columns)).toBeCloseTo(5e-3, 8);
  });

  it('is held to the size of the terms that its numbers are sums of, where these are known', () => {
    const terms = expected.map((value) => 10 * Math.abs(value));
    expect(errorByRow(wrong, expected, columns, terms)).toBeCloseTo(5e-4, 8);
  });

  it('is not held to more than rounding allows: one figure for all numbers is the least that each is held to', () => {
    expect(errorByRow(wrong, expected, columns, 1)).toBeCloseTo(2e-5, 8);
  });
});

describe('one number', () => {
  it('that is wrong and small is noticed beside large ones of its row', () => {
    const [expected, actual] = [Float64Array.of(1, 1e-6), Float64Array.of(1, 1.1e-6)];
    expect(errorByRow(actual, expected, 2, expected)).toBeCloseTo(0.1, 8);
  });

  it('that is missing, not finite, or not 0 where nothing is summed, is wrong without bound', () => {
    const expected = Float64Array.of(1, 0);
    expect(errorByRow(Float64Array.of(1), expected, 2)).toBe(Infinity);
    expect(errorByRow(Float64Array.of(1, Number.NaN), expected, 2, expected)).toBe(Infinity);
    expect(errorByRow(Float64Array.of(1, 1e-30), expected, 2, expected)).toBeGreaterThan(1e200);
    expect(errorByRow(expected, expected, 3)).toBe(Infinity);
    expect(errorByRow(expected, expected, 2, Float64Array.of(1))).toBe(Infinity);
  });
});

it('inputs have small rows and small columns', () => {
  const values = unevenValues(1, 3, 5);
  const largest = (numbers: Float32Array) => numbers.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(largest(values.subarray(5, 10))).toBeLessThan(2 ** -10);
  expect(largest(values)).toBeGreaterThan(0.5);
  expect(Math.abs(values[3]!)).toBeLessThan(2 ** -10);
});
