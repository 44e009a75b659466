/** What follows from the losses of a sweep. */
import { describe, expect, it } from 'vitest';
import { sweepText } from '../../../src/cli/sweepResult.ts';
import { sweepChart, sweepOf } from '../../../src/report/sweepChart.ts';

/** A sweep over 121 rates from 1e-5 to 10, with a loss that depends on the exponent. */
function sweep(loss: (exponent: number) => number) {
  const exponents = Array.from({ length: 121 }, (_, i) => -5 + i / 20);
  const column = (value: (exponent: number) => number) => exponents.map(value);
  return sweepOf({ steps: { lr: column((e) => 10 ** e), loss: column(loss) } });
}

describe('a sweep of the learning rate', () => {
  it('suggests a tenth of the rate at which the smoothed loss is lowest', () => {
    const result = sweep((e) => 3 + (e + 2) ** 2 + (Math.round(20 * e) % 2) * 0.05);
    // The moving average is some steps late.
    expect(Math.log10(result.lowest![0])).toBeCloseTo(-2 + 9 / 20, 0);
    expect(result.suggested).toBeCloseTo(result.lowest![0] / 10, 12);
    expect(sweepText(result)).toMatch(
      /^the loss is lowest, 3\.\d+, at the learning rate .*; suggested schedule.learningRate: \d\.\de-3,/,
    );
    const picture = sweepChart(result);
    expect(picture).toContain('Training loss at each learning rate');
    expect(picture).toContain('suggested');
  });

  it('shows the losses before a divergence in full height', () => {
    const result = sweep((e) => (e < -1 ? 3 - (e + 5) / 4 : 1e9));
    expect(result.suggested).toBeGreaterThan(1e-3);
    expect(sweepChart(result)).not.toMatch(/1[,0]*000,000/);
  });

  it('asks for higher rates while the loss falls, and for lower ones if it only rises', () => {
    expect(sweepText(sweep((e) => -e))).toMatch(/the highest: raise schedule.learningRate/);
    expect(sweepText(sweep((e) => e))).toMatch(/close to the lowest: lower schedule.minLearningRate/);
    expect(sweepText(sweep(() => Number.NaN))).toMatch(/no loss is finite/);
  });
});
