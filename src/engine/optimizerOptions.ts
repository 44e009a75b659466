/**
 * The options of the kernels that update parameters: `adamw`, and the sums of matrices that Muon is made of. And what every engine makes of
 * them: which tensors are updated, and where matrices are.
 */
import { invariant } from '../base/errors.ts';
import { matrix } from './linearOptions.ts';
import type { Tensor, TensorGroup } from './tensor.ts';

/** Averages of parameters: average = (1 - weight) · average + weight · param. */
export interface AverageOptions {
  /** Tensors of the shapes of the parameters. */
  readonly group: TensorGroup;
  /** The share of the updated parameters, 0 to 1. */
  readonly weight: number;
}

/** One update of AdamW (Loshchilov and Hutter, 2019), as PyTorch computes it. */
export interface AdamwOptions {
  /** The indices of the tensors of `params` that are updated, ascending. Absent: all. */
  readonly tensors?: readonly number[];
  /** Groups of the same shapes, and `average` too. */
  readonly params: TensorGroup;
  /** Read, and left 0 with `zeroGrads`. */
  readonly grads: TensorGroup;
  /** First moments. */
  readonly m: TensorGroup;
  /** Second moments, of the updated tensors only. */
  readonly v: TensorGroup;
  /** Weight decay of each tensor of `params`. Decoupled, like PyTorch's: param -= learningRate · weightDecay · param, before the update. */
  readonly weightDecay: readonly number[];
  /** Learning rate of this update. */
  readonly learningRate: number;
  /** Decay rate of the first moment. */
  readonly beta1: number;
  /** Decay rate of the second moment. */
  readonly beta2: number;
  /** Keeps the division finite. */
  readonly eps: number;
  /** 1 for the first update (for the bias correction). */
  readonly step: number;
  /** The gradients are multiplied by this first (clipping). */
  readonly gradScale: number;
  /** Leaves the gradients 0, for the next step. */
  readonly zeroGrads?: boolean;
  /** Averages that follow the updated parameters. Without it, there are none. */
  readonly average?: AverageOptions;
}

/** A matrix that is a part of another. */
export interface MatrixPart {
  /** [R, C]. */
  readonly tensor: Tensor;
  /** Its first row. Default 0. */
  readonly row?: number;
  /** Its first column. Default 0. */
  readonly column?: number;
}

/** A sum of two matrices of one shape, each times a number. */
export interface WeightedSumOptions {
  /** Number of rows of the matrices. */
  readonly rows: number;
  /** Number of columns of the matrices. */
  readonly columns: number;
  /** May be `a`, of the same tensor and place; otherwise it shares no tensor with `a` and `b`. */
  readonly out: MatrixPart;
  /** The first matrix. */
  readonly a: MatrixPart;
  /** The second matrix. */
  readonly b: MatrixPart;
  /** What `a` is multiplied by. */
  readonly scaleA: number;
  /** What `b` is multiplied by. */
  readonly scaleB: number;
}

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
