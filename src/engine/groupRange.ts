/** Which ranges of a group's block can be copied. */
import { invariant } from '../base/errors.ts';
import type { TensorGroup } from './tensor.ts';

/** InvariantError unless elements [from, to) lie in the group's block, and the host's array holds as many. */
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
