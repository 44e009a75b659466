/** The state of a replica between two steps: its parts, in the order of files and streams, and the tensors of each. */

/** Parameter values, and AdamW's first and second moments. */
export const stateParts = ['params', 'm', 'v'] as const;

/** One of them. */
export type StatePart = (typeof stateParts)[number];

/** A parameter, on which all holders of a state must agree. */
export interface StateTensor {
  /** The name in checkpoints. */
  readonly name: string;
  /** The shape in checkpoints. */
  readonly shape: readonly number[];
  /** Whether it has a gradient and moments; otherwise it is frozen and keeps its value. */
  readonly trained: boolean;
}

/** The tensors that have this part, in the same order. */
export function tensorsOf<T extends Pick<StateTensor, 'trained'>>(
  part: StatePart,
  tensors: readonly T[],
): readonly T[] {
  return part === 'params' ? tensors : tensors.filter(({ trained }) => trained);
}
