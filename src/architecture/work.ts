/**
 * What a training step is worth, in floating-point operations: 2 for each multiply-add of forward, 4 of backward. What is computed
 * twice, like attention's scores, counts once.
 */

import { architectureOf, type ModelConfig, parameterCount } from './registry.ts';

export const stepFlopFormula =
  '6 * matmulParameters * tokens + 6 * nLayer * nEmbd * blockSize * tokens (attention, the causal half)';

export interface PhaseFlops {
  /** With the gradients of the head, which are computed with the loss. */
  readonly forward: number;
  readonly backward: number;
}

/** Floating-point operations of both passes over `tokens` tokens. */
export function phaseFlops(model: ModelConfig, tokens: number): PhaseFlops {
  const { layers, head } = architectureOf(model).tokenWork(model, parameterCount(model));
  return { forward: tokens * (2 * layers + 6 * head), backward: tokens * 4 * layers };
}

export function stepFlops(model: ModelConfig, tokens: number): number {
  const { forward, backward } = phaseFlops(model, tokens);
  return forward + backward;
}

/** Bytes of the parameters that are read to generate a token. */
export function weightBytes(model: ModelConfig): number {
  return 4 * architectureOf(model).tokenWork(model, parameterCount(model)).parametersRead;
}

/** Numbers that an evaluation holds for a token at once, at most. */
export function tokenActivations(model: ModelConfig): number {
  return architectureOf(model).tokenWork(model, parameterCount(model)).activations;
}
