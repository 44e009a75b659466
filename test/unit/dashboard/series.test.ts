import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Series, type StepValues } from '../../../src/dashboard/series.ts';

const values = (step: number, loss = step): StepValues => {
  return {
    step,
    loss,
    lr: 2 * step,
    gradNorm: 1,
    tokensPerSecond: 10,
    mfu: 0.5,
    ringBytesPerSecond: 0,
    reward: step,
    rolloutKl: 0,
  };
};

describe('a series', () => {
  it('has each step as a point while they are few', () => {
    const series = new Series(8);
    for (let step = 1; step <= 8; step++) series.add(values(step));
    expect(series.after(0).map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(series.after(6)).toEqual([7, 8].map((step) => ({ ...values(step), lossMin: step, lossMax: step })));
    expect(series.stride).toBe(1);
  });

  it('joins neighbours when they are many: means, the extremes of the loss, the last step', () => {
    const series = new Series(4);
    for (let step = 1; step <= 10; step++) series.add(values(step));
    // 1-4, 5-8, 9-10
    expect(series.stride).toBe(4);
    expect(series.after(0).map(({ step, loss, lossMin, lossMax, lr }) => [step, loss, lossMin, lossMax, lr])).toEqual([
      [4, 2.5, 1, 4, 5],
      [8, 6.5, 5, 8, 13],
      [10, 9.5, 9, 10, 19],
    ]);
  });

  it('joins speeds as work over time', () => {
    const series = new Series(2);
    for (const [index, speed] of [100, 10, 10, 10].entries()) {
      series.add({ ...values(index + 1), tokensPerSecond: speed, mfu: speed / 1_000 });
    }
    const [joined] = series.after(0);
    expect(joined?.tokensPerSecond).toBeCloseTo(2 / (1 / 100 + 1 / 10));
    expect(joined?.mfu).toBeCloseTo(joined!.tokensPerSecond / 1_000);
  });

  it('is bounded, keeps every step in one point and the order, however many there are', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3_000 }), fc.constantFrom(2, 4, 16, 64), (steps, most) => {
        const series = new Series(most);
        for (let step = 1; step <= steps; step++) series.add(values(step));
        const points = series.after(0);
        expect(points.length).toBeLessThanOrEqual(most);
        expect(points.length).toBeGreaterThan(Math.min(steps, most / 2) - 1);
        expect(points.at(-1)?.step).toBe(steps);
        let before = 0;
        for (const { step, loss, lossMin, lossMax } of points) {
          expect(lossMin).toBe(before + 1);
          expect(lossMax).toBe(step);
          expect(loss).toBeCloseTo((before + 1 + step) / 2, 9);
          before = step;
        }
      }),
      { numRuns: 50 },
    );
  });

  it('goes back with a run that goes back', () => {
    const series = new Series(8);
    for (const step of [1, 2, 3, 4, 2, 3]) series.add(values(step, 100 + step));
    expect(series.after(0).map(({ step }) => step)).toEqual([1, 2, 3]);
  });
});
