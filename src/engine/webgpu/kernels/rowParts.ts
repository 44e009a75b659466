/** Matrices in parts that fit a binding. */
import { invariant } from '../../../base/errors.ts';
import type { Bound } from '../commands.ts';
import type { Gpu } from '../gpu.ts';
import { BINDING_ALIGNMENT, type GpuTensor } from '../memory.ts';

/** A part starts at a multiple of this number of rows, so that every array with a number or more for each row can be bound from there. */
const PART_ROWS = BINDING_ALIGNMENT;

/** Rows [first, first + rows) of a matrix. */
export interface RowPart {
  readonly first: number;
  readonly rows: number;
}

/** The parts of a matrix of `rows` rows and `columns` columns, each of at most `floatsMax` elements. */
export function rowParts(
  { bindingFloatsMax }: Gpu,
  rows: number,
  columns: number,
  floatsMax = bindingFloatsMax,
): RowPart[] {
  if (rows * columns <= floatsMax) return [{ first: 0, rows }];
  const step = PART_ROWS * Math.max(1, Math.floor(floatsMax / columns / PART_ROWS));
  invariant(
    step * columns <= bindingFloatsMax,
    `${PART_ROWS} rows of ${columns} numbers do not fit this GPU: it binds at most ${bindingFloatsMax} numbers at a time`,
  );
  return Array.from({ length: Math.ceil(rows / step) }, (_, i) => ({
    first: i * step,
    rows: Math.min(step, rows - i * step),
  }));
}

/** The part of a tensor that has `columns` numbers for each row. */
export function partOf(tensor: GpuTensor, { first, rows }: RowPart, columns: number): Bound {
  return { tensor, from: first * columns, length: rows * columns };
}
