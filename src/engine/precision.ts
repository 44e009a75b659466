/** In what matrix products read their factors. They are summed in float32. */

/** The precision in which matrix products read their factors. */
export type EnginePrecision = 'float32' | 'bf16' | 'f16';
