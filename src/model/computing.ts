/** How any model is computed. */

/** What forward keeps for backward: all activations, or only the input of each block, from which backward recomputes the rest. */
export type ActivationRecompute = 'none' | 'block';

/**
 * The type that matrix products read: float32; with `bf16` bfloat16, which they write as well; with `f16` float16, to which they round their factors. They
 * are summed in float32. Parameters are always float32.
 */
export type Precision = 'float32' | 'bf16' | 'f16';
