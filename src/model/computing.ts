/** How any model is computed. */

/** What forward keeps for backward: all activations, or only the input of each block, from which backward recomputes the rest. */
export type ActivationRecompute = 'none' | 'block';

/** The type that matrix products read and write: float32, or bfloat16 summed in float32. Parameters are always float32. */
export type Precision = 'float32' | 'bf16';
