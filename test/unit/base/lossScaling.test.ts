import { expect, it } from 'vitest';
import { encodeScaling, initialScaling, type ScalingState, scalingAfter } from '../../../src/base/lossScaling.ts';

const after = (state: ScalingState, steps: readonly boolean[]) => steps.reduce(scalingAfter, state);

it('halves the scale at each step that is skipped, and doubles it after 2,000 that are not', () => {
  expect(initialScaling).toEqual({ scale: 65_536, steadySteps: 0, skippedSteps: 0 });
  expect(after(initialScaling, [true, true, false])).toEqual({ scale: 32_768, steadySteps: 0, skippedSteps: 1 });
  const steady = after(initialScaling, [false, ...Array<boolean>(1_999).fill(true)]);
  expect(steady).toEqual({ scale: 32_768, steadySteps: 1_999, skippedSteps: 1 });
  expect(scalingAfter(steady, true)).toEqual({ scale: 65_536, steadySteps: 0, skippedSteps: 1 });
});

it('keeps the scale within what float32 sums bear', () => {
  const largest = { scale: 2 ** 24, steadySteps: 1_999, skippedSteps: 0 };
  expect(scalingAfter(largest, true)).toEqual({ ...largest, steadySteps: 0 });
});

it('is exact in float32', () => {
  const state = { scale: 2 ** -8, steadySteps: 1_999, skippedSteps: 12_345_677 };
  expect([...encodeScaling(state)]).toEqual([state.scale, state.steadySteps, state.skippedSteps]);
});
