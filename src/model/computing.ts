/** How a model is computed, whatever it is. */

/** What forward keeps for backward: all of it, or of each block its input, from which the rest is computed again. */
export type ActivationRecompute = 'none' | 'block';

/** Of what matrix products read and write: float32, or bfloat16 summed in float32. Parameters are float32 in either. */
export type Precision = 'float32' | 'bf16';
