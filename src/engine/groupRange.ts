/** Which ranges of a group's block can be copied. */
import { invariant } from '../base/errors.ts';
import type { TensorGroup } from './tensor.ts';

/** Throws an InvariantError unless elements [from, to) are within the group's block, and the host's array has that number of elements. */
export function checkGroupRange(
  operation: string,
  { length }: TensorGroup,
  from: number,
  to: number,
  array: Float32Array,
): void {
  invariant(
    0 <= from && from <= to && to <= length && array.length === to - from,
    `${operation}: elements [${from}, ${to}) of a group of ${length}, and an array of ${array.length}`,
  );
}
