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

  it('is finite and between 0 and the peak wherever warm-up and decay end', () => {
    for (let warmupSteps = 0; warmupSteps < 6; warmupSteps++) {
      for (let decaySteps = 0; decaySteps < 6; decaySteps++) {
        for (let step = 0; step < 8; step++) {
          const rate = learningRateAt(step, { ...cosine, warmupSteps, decaySteps });
          expect(rate, `${step}, ${warmupSteps}, ${decaySteps}`).toBeGreaterThan(0);
          expect(rate).toBeLessThanOrEqual(1e-3);
        }
      }
    }
  });

  it('starts at the peak without a warm-up', () => {
    expect(learningRateAt(0, { ...cosine, warmupSteps: 0 })).toBe(1e-3);
  });
});
