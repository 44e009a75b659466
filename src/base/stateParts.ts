/** The parts of what a replica holds between two steps, in the order in which files and streams have them. */

/** Values, and AdamW's first and second moments. */
export const stateParts = ['params', 'm', 'v'] as const;

/** One of them. */
export type StatePart = (typeof stateParts)[number];
