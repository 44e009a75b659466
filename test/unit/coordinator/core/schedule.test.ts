import { describe, expect, it } from 'vitest';
import { learningRateAt, type Schedule } from '../../../../src/coordinator/core/schedule.ts';

const cosine: Schedule = {
  kind: 'cosine',
  learningRate: 1e-3,
  minLearningRate: 1e-4,
  warmupSteps: 100,
  decaySteps: 2100,
};

describe('learningRateAt', () => {
  it('rises linearly from above 0 to the peak', () => {
    expect(learningRateAt(0, cosine)).toBeCloseTo(1e-3 / 101, 15);
    expect(learningRateAt(49, cosine)).toBeCloseTo((1e-3 * 50) / 101, 15);
    expect(learningRateAt(100, cosine)).toBe(1e-3);
  });

  it('falls by half a cosine, then stays', () => {
    expect(learningRateAt(600, cosine)).toBeCloseTo(1e-4 + 9e-4 * 0.5 * (1 + Math.SQRT1_2), 15);
    expect(learningRateAt(1100, cosine)).toBeCloseTo(5.5e-4, 15);
    expect(learningRateAt(2099, cosine)).toBeGreaterThan(1e-4);
    expect(learningRateAt(2100, cosine)).toBe(1e-4);
    expect(learningRateAt(9999, cosine)).toBe(1e-4);
  });

  it('is level after the warm-up when constant', () => {
    const constant: Schedule = { ...cosine, kind: 'constant', warmupSteps: 4 };
    expect([0, 3, 4, 5000].map((step) => learningRateAt(step, constant) * 1e3)).toEqual([0.2, 0.8, 1, 1]);
  });

  it('falls in a straight line', () => {
    const linear: Schedule = { ...cosine, kind: 'linear' };
    expect([0, 49, 100].map((step) => learningRateAt(step, linear))).toEqual(
      [0, 49, 100].map((step) => learningRateAt(step, cosine)),
    );
    expect(learningRateAt(600, linear)).toBeCloseTo(1e-4 + 9e-4 * 0.75, 15);
    expect(learningRateAt(2099, linear)).toBeCloseTo(1e-4 + 9e-4 / 2000, 15);
    expect([2100, 9999].map((step) => learningRateAt(step, linear))).toEqual([1e-4, 1e-4]);
  });

  it('stays, then falls in a straight line at the end (wsd)', () => {
    const wsd: Schedule = { ...cosine, kind: 'wsd', cooldownSteps: 400 };
    expect([100, 1000, 1700].map((step) => learningRateAt(step, wsd))).toEqual([1e-3, 1e-3, 1e-3]);
    expect(learningRateAt(1800, wsd)).toBeCloseTo(1e-4 + 9e-4 * 0.75, 15);
    expect(learningRateAt(2100, wsd)).toBe(1e-4);
    // By default the last fifth: from step 1,680 on.
    const fifth: Schedule = { ...cosine, kind: 'wsd' };
    expect(learningRateAt(1680, fifth)).toBe(1e-3);
    expect(learningRateAt(1890, fifth)).toBeCloseTo(5.5e-4, 15);
    // A decay longer than what follows the warm-up has begun when the warm-up ends.
    expect(learningRateAt(100, { ...wsd, cooldownSteps: 4000 })).toBeCloseTo(1e-4 + 9e-4 * 0.5, 15);
  });

  it('is the schedule of "Attention is all you need" (inverseSqrt)', () => {
    const [dModel, warmupSteps] = [512, 4000];
    const vaswani = (step: number) => dModel ** -0.5 * Math.min(step ** -0.5, step * warmupSteps ** -1.5);
    const schedule: Schedule = {
      ...cosine,
      kind: 'inverseSqrt',
      warmupSteps,
      learningRate: (dModel * warmupSteps) ** -0.5,
    };
    for (const step of [1, 2, 1999, 3999, 4000, 4001, 16_000, 100_000]) {
      expect(learningRateAt(step - 1, schedule) / vaswani(step), `step ${step}`).toBeCloseTo(1, 12);
    }
    expect(learningRateAt(3999, schedule)).toBe(schedule.learningRate);
    expect(learningRateAt(0, { ...schedule, warmupSteps: 0 })).toBe(schedule.learningRate);
  });

  it('rises by the same factor in each step, from one end to the other (sweep)', () => {
    const sweep: Schedule = { ...cosine, kind: 'sweep', minLearningRate: 1e-6, learningRate: 1, decaySteps: 101 };
    expect([0, 100, 5000].map((step) => learningRateAt(step, sweep))).toEqual([1e-6, 1, 1]);
    expect(learningRateAt(50, sweep)).toBeCloseTo(1e-3, 12);
    expect(learningRateAt(1, sweep) / 1e-6).toBeCloseTo(10 ** 0.06, 12);
    expect(learningRateAt(0, { ...sweep, decaySteps: 1 })).toBe(1);
  });

  it('is finite and between 0 and the peak wherever warm-up and decay end', () => {
    for (let warmupSteps = 0; warmupSteps < 6; warmupSteps++) {
      for (let decaySteps = 0; decaySteps < 6; decaySteps++) {
        for (let step = 0; step < 8; step++) {
          for (const kind of ['cosine', 'linear', 'constant', 'wsd', 'inverseSqrt', 'sweep'] as const) {
            const rate = learningRateAt(step, { ...cosine, kind, warmupSteps, decaySteps });
            expect(rate, `${kind}, ${step}, ${warmupSteps}, ${decaySteps}`).toBeGreaterThan(0);
            expect(rate).toBeLessThanOrEqual(1e-3);
          }
        }
      }
    }
  });

  it('starts at the peak without a warm-up', () => {
    expect(learningRateAt(0, { ...cosine, warmupSteps: 0 })).toBe(1e-3);
  });
});
