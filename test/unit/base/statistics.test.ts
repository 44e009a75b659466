import { describe, expect, it } from 'vitest';
import { median, quantile } from '../../../src/base/statistics.ts';

describe('median', () => {
  it('is the middle, or between both', () => {
    expect(median([5])).toBe(5);
    expect(median([9, 1, 5])).toBe(5);
    expect(median([10, 2, 4, 100])).toBe(7);
    expect(median([])).toBeNaN();
  });
});

describe('quantile', () => {
  it('is linear between the two values beside it', () => {
    const values = [40, 10, 30, 20, 50];
    expect([0, 0.25, 0.3, 0.5, 0.99, 1].map((share) => quantile(values, share))).toEqual([10, 20, 22, 30, 49.6, 50]);
    expect(quantile([7], 0.95)).toBe(7);
    expect(quantile([], 0.5)).toBeNaN();
  });
});
