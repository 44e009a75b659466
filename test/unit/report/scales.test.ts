import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bandScale, linearScale, logScale, niceEnds, pathThrough, roundTicks } from '../../../src/report/scales.ts';

describe('round values', () => {
  it.each([
    [[0, 1], 5, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [[0, 0.3], 3, [0, 0.1, 0.2, 0.3]],
    [[-1, 1], 4, [-1, -0.5, 0, 0.5, 1]],
    [[1.52, 4.31], 5, [2, 2.5, 3, 3.5, 4]],
    [[0, 120], 6, [0, 20, 40, 60, 80, 100, 120]],
    [[1e9, 1e9 + 1], 2, [1e9, 1e9 + 0.5, 1e9 + 1]],
  ] as const)('between %j, about %i, are %j', (ends, count, ticks) => {
    expect(roundTicks(ends, count)).toEqual(ticks);
  });

  it('are at both ends of nice ends, which hold the ends that were given', () => {
    const size = fc.double({ min: 1e-9, max: 1e9, noNaN: true });
    fc.assert(
      fc.property(
        fc.double({ min: -1e9, max: 1e9, noNaN: true }),
        size,
        fc.integer({ min: 2, max: 10 }),
        (low, by, count) => {
          // A range that has digits of its own: others have no round values between.
          const high = low + Math.max(by, Math.abs(low) * 1e-6);
          const [from, to] = niceEnds([low, high], count);
          const ticks = roundTicks([from, to], count);
          const slack = 1e-6 * (high - low);
          expect(from).toBeLessThanOrEqual(low + slack);
          expect(to).toBeGreaterThanOrEqual(high - slack);
          expect([ticks[0], ticks.at(-1)]).toEqual([from, to]);
          expect(ticks.length).toBeGreaterThanOrEqual(2);
          expect(ticks.length).toBeLessThanOrEqual(2 * count + 3);
        },
      ),
    );
  });
});

it('scales place values in proportion, bars side by side, and lines with gaps', () => {
  expect([0, 5, 10, 20].map(linearScale([0, 10], [100, 0]))).toEqual([100, 50, 0, -100]);
  expect(logScale([1, 100], [0, 10])(10)).toBeCloseTo(5);
  const { width, middle } = bandScale(3, [0, 36], { inner: 0.5, outer: 0.25 });
  expect([width, middle(0), middle(1), middle(2)]).toEqual([6, 6, 18, 30]);
  expect(pathThrough([[0, 1], [2, 3.04], undefined, [4, 5], undefined])).toBe('M0,1L2,3M4,5Z');
});
