/** Limits of the labels of a classification, which config, checkpoints and rows share. */

/** The most classes. */
export const labelsMax = 10_000;
/** The longest name of a class, in UTF-16 units. */
export const labelLengthMax = 1000;
