/**
 * What a training step is worth, in floating-point operations: 6 · P · tokens for the matrix products (2 forward, 4 backward; P their
 * weights) plus 6 · nLayer · nEmbd · T · tokens for attention, of whose T × T scores the causal half is counted. What is computed twice,
 * like attention's scores, counts once.
 */
import type { ModelConfig } from './config.ts';
import { parameterCount } from './parameters.ts';

export const stepFlopFormula =
  '6 * matmulParameters * tokens + 6 * nLayer * nEmbd * blockSize * tokens (attention, the causal half)';

export interface PhaseFlops {
  /** With the gradients of the head, which are computed with the loss. */
  readonly forward: number;
  readonly backward: number;
}

/** Floating-point operations of both passes over `tokens` tokens. */
export function phaseFlops(model: ModelConfig, tokens: number): PhaseFlops {
  const { nLayer, nEmbd, blockSize, vocabSize } = model;
  const head = vocabSize * nEmbd;
  // The position table is only looked up, and so is a token table that is not the head as well.
  const lookedUp = nEmbd * blockSize + (model.tiedHead ? 0 : head);
  const layers = parameterCount(model) - lookedUp - head + nLayer * nEmbd * blockSize;
  return { forward: tokens * (2 * layers + 6 * head), backward: tokens * 4 * layers };
}

export function stepFlops(model: ModelConfig, tokens: number): number {
  const { forward, backward } = phaseFlops(model, tokens);
  return forward + backward;
}
