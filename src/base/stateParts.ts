/** What a replica holds between two steps: the parts in the order in which files and streams have them, and the tensors of each. */

/** Values, and AdamW's first and second moments. */
export const stateParts = ['params', 'm', 'v'] as const;

/** One of them. */
export type StatePart = (typeof stateParts)[number];

/** A parameter, as all that hold a state must agree on it. */
export interface StateTensor {
  /** As in checkpoints. */
  readonly name: string;
  /** As in checkpoints. */
  readonly shape: readonly number[];
  /** Whether it has a gradient and moments; else it is frozen, and keeps its value. */
  readonly trained: boolean;
}

/** The tensors of which there is this part, in the same order. */
export function tensorsOf<T extends Pick<StateTensor, 'trained'>>(
  part: StatePart,
  tensors: readonly T[],
): readonly T[] {
  return part === 'params' ? tensors : tensors.filter(({ trained }) => trained);
}
