/**
 * The options of the linear kernels (kernels.ts, with the dimensions and the contract), and what every engine makes of them: which exclude one
 * another, and how the head is cut.
 */
import type { ActivationKind } from '../base/activations.ts';
import { invariant } from '../base/errors.ts';
import { lastExtent } from '../base/shape.ts';
import type { Dropout } from './dropout.ts';
import type { Tensor } from './tensor.ts';

/** Where `inp` or `dout` is bfloat16, the product is one of bfloat16 numbers, summed in float32: the weight is rounded for it. */
export interface LinearOptions {
  /**
   * Both factors of each product are rounded to float16, and summed in float32. A number that is too large for float16 becomes infinite.
   * For engines with `hasFloat16` only. Absent: they are used as they are.
   */
  readonly operands?: 'float16';
  /** [N, IC] (leading dimensions are flattened); or bfloat16. */
  readonly inp: Tensor;
  /** [IC, OC], as GPT-2 stores it; with `weightTransposed` [OC, IC], as a tied head uses the token embedding. */
  readonly weight: Tensor;
  /** Whether it is (OC, IC). */
  readonly weightTransposed?: boolean;
}

/** The non-linearity after a linear layer. */
export interface ForwardActivation {
  /** Which one. */
  readonly kind: ActivationKind;
  /** (N, OC), or bfloat16: the layer's result before it, where the backward pass needs it. */
  readonly preActivation?: Tensor;
}

/** A linear layer and what follows it. */
export interface LinearForwardOptions extends LinearOptions {
  /** [N, OC]; or bfloat16. With y = inp @ weight + bias it is y, act(y) with `activation`, or residual + dropout(y) with `residual`. */
  readonly out: Tensor;
  /** [OC]. */
  readonly bias?: Tensor;
  /** Excludes `residual`. */
  readonly activation?: ForwardActivation;
  /** [N, OC]; or bfloat16; `out` may be `residual`. */
  readonly residual?: Tensor;
  /** Dropout of y, before it is added to `residual`, which is then required. */
  readonly dropout?: Dropout;
  /**
   * Each row of `out` has the same bits as with N = 1, regardless of the other rows. Needed for sequences that are decoded together.
   * `inp` is float32 then. Absent: rounding may depend on N.
   */
  readonly rowsApart?: boolean;
}

/** Its gradients. */
export interface LinearBackwardOptions extends LinearOptions {
  /** [N, OC]; or bfloat16: the gradient of y = inp @ weight + bias. */
  readonly dout: Tensor;
  /** [N, IC]; or bfloat16. Assigned, or accumulated with `accumulate`. Absent: not computed. */
  readonly dinp?: Tensor;
  /** Adds to `dinp` instead of assigning it. */
  readonly accumulate?: boolean;
  /** Where inp = act(preActivation [N, IC]; or bfloat16): dinp is the gradient of `preActivation`. Excludes `accumulate`. */
  readonly dinpActivation?: Required<ForwardActivation>;
  /** The shape of `weight`, accumulated. */
  readonly dweight?: Tensor;
  /** [OC], accumulated. */
  readonly dbias?: Tensor;
}

/** The head of a model and its loss. */
export interface LinearCrossEntropyOptions extends LinearOptions {
  /** (N): of the logits inp @ weight [N, V], as `crossEntropy` gives them. */
  readonly losses: Tensor;
  /** [N] int32; -1: ignored. */
  readonly targets: Tensor;
  /** What the sum of the losses is multiplied by before it is derived: 1 if absent. */
  readonly scale?: number;
  /** [N], what each row's loss is multiplied by besides before it is derived; `losses` are not. Absent: 1. */
  readonly weights?: Tensor;
  /** [N, IC], assigned; or bfloat16. */
  readonly dinp?: Tensor;
  /** The shape of `weight`, accumulated. */
  readonly dweight?: Tensor;
}

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
export function checkLinearForward(options: LinearForwardOptions) {
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
export function checkLinearBackward(options: LinearBackwardOptions) {
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
