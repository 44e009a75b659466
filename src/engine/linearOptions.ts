/** What every backend makes of the options of the linear kernels: which exclude one another, and how the head is cut. */
import { invariant } from '../base/errors.ts';
import { lastExtent } from '../base/shape.ts';
import type { KernelOptions, LinearOptions } from './kernels.ts';
import type { Tensor } from './tensor.ts';

/** N, IC and OC; the last extent of `inp` must be the weight's IC. @throws InvariantError */
export function linearShape({ inp, weight, weightTransposed = false }: LinearOptions) {
  const [rows, columns] = matrix(weight, 'weight');
  const [ic, oc] = weightTransposed ? [columns, rows] : [rows, columns];
  const form = weightTransposed ? '[OC, IC]' : '[IC, OC]';
  invariant(lastExtent(inp) === ic, `inp is [${inp.shape}] but weight ${form} is [${weight.shape}]`);
  return { n: inp.size / ic, ic, oc, transposed: weightTransposed };
}

/** The two extents of a matrix. @throws InvariantError */
export function matrix({ shape }: Tensor, name: string): [rows: number, columns: number] {
  const [rows, columns] = shape;
  invariant(
    shape.length === 2 && rows !== undefined && columns !== undefined,
    `${name} is [${shape}]; expected two dimensions`,
  );
  return [rows, columns];
}

/** Tensors that are given have these numbers of elements. @throws InvariantError */
function checkSizes(kernel: string, sizes: Readonly<Record<string, readonly [Tensor | undefined, number]>>): void {
  for (const [name, [tensor, size]] of Object.entries(sizes)) {
    invariant(
      tensor === undefined || tensor.size === size,
      `${kernel}: ${name} is [${tensor?.shape}]; expected ${size} elements`,
    );
  }
}

/** The shape of a forward pass whose options fit one another. @throws InvariantError */
export function checkLinearForward(options: KernelOptions<'linearForward'>) {
  const { inp, activation, residual, dropout, rowsApart } = options;
  invariant(
    activation === undefined || residual === undefined,
    'linearForward: activation and residual exclude each other',
  );
  invariant(dropout === undefined || residual !== undefined, 'linearForward: dropout needs a residual');
  invariant(rowsApart !== true || inp.dtype === 'float32', 'linearForward: rowsApart needs a float32 inp');
  const shape = linearShape(options);
  const size = shape.n * shape.oc;
  checkSizes('linearForward', {
    out: [options.out, size],
    bias: [options.bias, shape.oc],
    preActivation: [activation?.preActivation, size],
    residual: [residual, size],
  });
  return shape;
}

/** The shape of a backward pass whose options fit one another. @throws InvariantError */
export function checkLinearBackward(options: KernelOptions<'linearBackward'>) {
  const { inp, weight, dout, dinp, accumulate, dinpActivation, dweight, dbias } = options;
  checkGradients('linearBackward', dinp, dweight, dbias);
  invariant(
    dinpActivation === undefined || (dinp !== undefined && accumulate !== true),
    'linearBackward: dinpActivation needs a dinp that is assigned',
  );
  const shape = linearShape(options);
  checkSizes('linearBackward', {
    dout: [dout, shape.n * shape.oc],
    dinp: [dinp, inp.size],
    preActivation: [dinpActivation?.preActivation, inp.size],
    dweight: [dweight, weight.size],
    dbias: [dbias, shape.oc],
  });
  return shape;
}

/** Calling a backward kernel without any requested output is a bug in the caller. */
export function checkGradients(kernel: string, ...gradients: readonly (Tensor | undefined)[]): void {
  invariant(
    gradients.some((gradient) => gradient !== undefined),
    `${kernel}: expected at least one gradient`,
  );
}

/** The most logits that `linearCrossEntropy` holds at once, but at least one row of them. */
const LOGITS_MAX = 1 << 24;

/** How many rows of logits `linearCrossEntropy` holds at once: as many as may be, in chunks of about the same size. */
export function logitsRows(rows: number, vocabSize: number): number {
  const chunks = Math.ceil(rows / Math.max(1, Math.floor(LOGITS_MAX / vocabSize)));
  return Math.ceil(rows / chunks);
}
