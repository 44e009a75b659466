/**
 * How far an engine's float32 result may be from the float64 reference: the difference of a number, relative to the size of the
 * terms that it is a sum of (`errorByRow` in harness.ts). float32 rounds to 6e-8; the rest is the length of the sums and the
 * polynomials that stand for exp and tanh.
 */
export const TOLERANCES = {
  /** One rounding. */
  add: 1.2e-7,
  /** The factor 1/(1 - rate) and one product. */
  dropout: 2.4e-7,
  embeddingForward: 1.2e-7,
  embeddingBackward: 3e-6,
  layerNormForward: 5e-6,
  layerNormBackward: 1e-5,
  rmsNormForward: 2e-6,
  rmsNormBackward: 1e-5,
  /** Two products and their sum. */
  rope: 2.4e-7,
  gatedActivationForward: 2e-6,
  gatedActivationBackward: 4e-6,
  /** Sums of up to 600 products. */
  linearForward: 1e-5,
  linearBackward: 1e-5,
  /** For a bfloat16 result: half the distance of two neighbours. */
  roundedToBfloat16: 2 ** -8 + 1e-5,
  activationForward: 2e-6,
  activationBackward: 4e-6,
  attentionForward: 1e-5,
  attentionBackward: 2e-5,
  /** The result's own rounding, and that of the weights: 2 ** -8 each. */
  attentionForwardBfloat16: 2 ** -7 + 1e-5,
  /** Also that of the gradients of scores, and of `out`. */
  attentionBackwardBfloat16: 1.2e-2,
  /** Sums over a vocabulary of 50,257, which tfjs adds up one after another. */
  crossEntropy: 1e-5,
  linearCrossEntropy: 5e-5,
  squaredNorm: 2e-6,
  adamw: 5e-6,
} as const satisfies Record<string, number>;

export type ToleranceName = keyof typeof TOLERANCES;
