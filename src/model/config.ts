/**
 * The shape of a GPT: what a checkpoint's `config.json` and the `model` group of a run's config describe. Plain data;
 * the user's input is checked in `config/schema.ts`, so a wrong value here is a broken invariant.
 */

import type { ActivationKind } from '../base/activations.ts';
import { invariant } from '../base/errors.ts';

/** The sizes and the form of a GPT. */
export interface ModelConfig {
  /** V: tokens in the vocabulary. */
  readonly vocabSize: number;
  /** The longest context, in tokens: rows of the position embedding. */
  readonly blockSize: number;
  /** Transformer blocks. */
  readonly nLayer: number;
  /** NH: attention heads; divides nEmbd. */
  readonly nHead: number;
  /** C: width of the residual stream. */
  readonly nEmbd: number;
  /** Probability of dropping an element after the embeddings, the attention weights and both projections; 0 for none. */
  readonly dropout: number;
  /** Whether linear layers and layer norms have a bias (GPT-2 does). */
  readonly bias: boolean;
  /** Between the two layers of the MLP. */
  readonly activation: ActivationKind;
  /** Whether the output head is the token embedding (GPT-2), or a matrix of its own. */
  readonly tiedHead: boolean;
}

/** What forward keeps for backward: all of it, or of each block its input, from which the rest is computed again. */
export type ActivationRecompute = 'none' | 'block';

/** Of what matrix products read and write: float32, or bfloat16 summed in float32. Parameters are float32 in either. */
export type Precision = 'float32' | 'bf16';

/** GPT-2's, and PyTorch's default. */
export const layerNormEps = 1e-5;

/** Throws InvariantError where the sizes cannot make a GPT. */
export function checkModelConfig(config: ModelConfig): void {
  for (const key of ['vocabSize', 'blockSize', 'nLayer', 'nHead', 'nEmbd'] as const) {
    const value = config[key];
    invariant(Number.isInteger(value) && value > 0, `model.${key} must be a positive integer, got ${value}`);
  }
  invariant(
    config.nEmbd % config.nHead === 0,
    `model.nEmbd ${config.nEmbd} must be a multiple of model.nHead ${config.nHead}`,
  );
  invariant(config.dropout >= 0 && config.dropout < 1, `model.dropout must be in [0, 1), got ${config.dropout}`);
}
