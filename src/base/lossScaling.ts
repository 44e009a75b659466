/**
 * Dynamic loss scaling (Micikevicius et al., "Mixed Precision Training", 2018, https://arxiv.org/abs/1710.03740), for products of float16 numbers:
 * many gradients of a model are so small that float16 would round them to 0. So losses are multiplied by a scale before their gradients are computed, and
 * gradients are divided by it before the update. If a gradient is too large for float16, the norm of all gradients is not finite: the step is
 * skipped, and the scale halved. The scale is a power of two, so it changes no bit of a gradient that neither overflows nor underflows. Pure.
 */

/** What a replica knows of its loss scaling between two steps. */
export interface ScalingState {
  /** A power of two, by which losses are multiplied. */
  readonly scale: number;
  /** Steps since the scale was last changed. */
  readonly steadySteps: number;
  /** Steps of the run that were skipped: the optimizer has not seen them. */
  readonly skippedSteps: number;
}

/** PyTorch's initial scale and interval of growth. */
export const initialScaling: ScalingState = { scale: 2 ** 16, steadySteps: 0, skippedSteps: 0 };
const growthSteps = 2000;
/** A larger scale gains nothing: with it, no gradient that matters is rounded to 0. */
const scaleMax = 2 ** 24;
/** Skipped one after another, they mean that the gradient is not finite at any scale: the scale is below 2^-8 by then. */
export const skippedStepsMax = 24;

/** The scaling after a step. @param isApplied whether the norm of its gradient is finite */
export function scalingAfter({ scale, steadySteps, skippedSteps }: ScalingState, isApplied: boolean): ScalingState {
  if (!isApplied) return { scale: scale / 2, steadySteps: 0, skippedSteps: skippedSteps + 1 };
  if (steadySteps + 1 < growthSteps) return { scale, steadySteps: steadySteps + 1, skippedSteps };
  return { scale: Math.min(2 * scale, scaleMax), steadySteps: 0, skippedSteps };
}

/** The three numbers as they are in the state: all are exact in float32. */
export function encodeScaling({ scale, steadySteps, skippedSteps }: ScalingState): Float32Array<ArrayBuffer> {
  return Float32Array.of(scale, steadySteps, skippedSteps);
}
