/** What every backend makes of the options of `weightedSum`, and of the tensors that `adamw` updates. */
import { invariant } from '../base/errors.ts';
import type { AdamwOptions, MatrixPart, WeightedSumOptions } from './kernels.ts';
import { matrix } from './linearOptions.ts';
import type { Tensor } from './tensor.ts';

/** Where a matrix is in the elements of its tensor. */
export interface PlacedMatrix {
  readonly tensor: Tensor;
  readonly row: number;
  readonly column: number;
  /** The index of its first element. */
  readonly start: number;
  /** The distance between the starts of its rows. */
  readonly stride: number;
}

/** The three matrices, which are inside of their tensors. @throws InvariantError */
export function weightedSumParts({ rows, columns, out, a, b }: WeightedSumOptions) {
  const place = ({ tensor, row = 0, column = 0 }: MatrixPart, name: string): PlacedMatrix => {
    const [height, stride] = matrix(tensor, name);
    invariant(
      row >= 0 && column >= 0 && row + rows <= height && column + columns <= stride,
      `weightedSum: ${rows}×${columns} numbers from row ${row}, column ${column} are not inside of ${name} [${tensor.shape}]`,
    );
    return { tensor, row, column, start: row * stride + column, stride };
  };
  const placed = { out: place(out, 'out'), a: place(a, 'a'), b: place(b, 'b') };
  const isInPlace = placed.out.tensor === placed.a.tensor;
  invariant(
    placed.out.tensor !== placed.b.tensor && (!isInPlace || placed.out.start === placed.a.start),
    'weightedSum: out may be a, but not another part of the tensor of a or b',
  );
  return { ...placed, isInPlace };
}

/** The index of each updated tensor in `params`, and its index in `v`. @throws InvariantError also for too few or many weight decays */
export function updatedTensors({
  params,
  v,
  weightDecay,
  tensors,
}: Pick<AdamwOptions, 'params' | 'v' | 'weightDecay' | 'tensors'>) {
  invariant(
    weightDecay.length === params.tensors.length,
    `adamw: expected ${params.tensors.length} numbers in weightDecay, received ${weightDecay.length}`,
  );
  const indices = tensors ?? params.tensors.map((_, i) => i);
  invariant(
    indices.length === v.tensors.length &&
      indices.every((index, i) => params.tensors[index]?.size === v.tensors[i]!.size && index > (indices[i - 1] ?? -1)),
    `adamw: v has ${v.tensors.length} tensors, which are not those of the ${indices.length} that are updated`,
  );
  return indices.map((index, indexOfV) => ({ index, indexOfV }));
}
