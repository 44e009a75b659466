/** The inputs and outputs of the tape's operations (tape.ts): values with their gradients, and layers. */
import type { ActivationKind } from '../base/activations.ts';
import { invariant } from '../base/errors.ts';
import type { OptionNames } from '../base/optionNames.ts';
import type { AttentionHeads, KeyRanges } from '../engine/attentionOptions.ts';
import type { Dropout } from '../engine/dropout.ts';
import type { RopeOptions } from '../engine/ropeOptions.ts';
import type { Shape, Tensor } from '../engine/tensor.ts';
import type { Parameter } from './parameter.ts';

/** The type of values and gradients. */
export type FloatType = 'float32' | 'bfloat16';

interface Activation {
  readonly kind: ActivationKind;
  readonly preActivation: Tensor;
}

/** The result of an operation on the tape. Valid until the tape's `backward` or `discard`. */
export class Variable {
  /** The shape of the value and its gradient. */
  readonly shape: Shape;
  /** The type of the value and its gradient. */
  readonly dtype: FloatType;
  /** @internal Absent if it is not computed, or was released. */
  buffer: Tensor | undefined;
  /** @internal Number of operations that read it. */
  uses = 0;
  /** @internal Whether a backward still needs the value, so that it must not be overwritten. */
  saved = false;
  /** @internal Whether the value stays until the tape's `discard`, though no backward needs it any more. */
  kept = false;
  /** @internal Whether it depends on a trained parameter, so that its gradient is needed. */
  needsGrad = false;
  /** @internal The activation that was applied to its operation's sum; `grad` may then be that of the sum. */
  activation: Activation | undefined;
  /** Its gradient, while the tape's `backward` needs it. */
  grad: Tensor | undefined;
  /** @internal Whether `grad` is that of the sum before the activation. */
  gradIsOfPreActivation = false;

  /** @internal variables come from operations of a tape */
  constructor(shape: Shape, dtype: FloatType, buffer?: Tensor) {
    this.shape = shape;
    this.dtype = dtype;
    this.buffer = buffer;
  }

  /** The value, on the device. */
  get value(): Tensor {
    invariant(
      this.buffer !== undefined,
      'a variable without a value was used: its tape has run backward or was discarded, or `rope` has overwritten it',
    );
    return this.buffer;
  }
}

/** The value of `x`, for another operation. */
export function use(x: Variable): Tensor {
  x.uses++;
  return x.value;
}

/** The same, kept until the backward of that operation. */
export function save(x: Variable): Tensor {
  x.saved = true;
  return use(x);
}

/** The weight and bias of a layer norm or linear layer. */
export interface Affine {
  /** (C) for a layer norm, (IC, OC) for a linear layer. */
  readonly weight: Parameter;
  /** (OC); absent in models without biases. */
  readonly bias?: Parameter | undefined;
}

/** The tensors that accumulate the gradients of the trained ones. */
export function gradientsOf({ weight, bias }: Affine): { readonly dweight?: Tensor; readonly dbias?: Tensor } {
  return { ...(weight.grad && { dweight: weight.grad }), ...(bias?.grad && { dbias: bias.grad }) };
}

/** A linear layer, with the operations that follow in the same pass over memory. */
export interface LinearLayer extends Affine {
  /** [OC, IC] instead of [IC, OC]. */
  readonly weightTransposed?: boolean;
  /** Excludes `residual`. */
  readonly activation?: ActivationKind;
  /** Added to the result after its `dropout`. */
  readonly residual?: Variable;
  /** The dropout of the result before `residual` is added. */
  readonly dropout?: Dropout | undefined;
  /** Whether the result is float32 in any precision. */
  readonly float32?: boolean;
  /** Whether each row of the result has the same bits as when computed alone. */
  readonly rowsApart?: boolean;
}

/** What an embedding adds to the rows of its tokens, and how. */
export interface EmbeddingOptions {
  /** The position of the first token. Default 0; others have no backward. */
  readonly positionOffset?: number;
  /** [B, T] int32: the first position of the document that each position belongs to. */
  readonly starts?: Tensor | undefined;
  /** Multiplies the rows of the tokens, before positions are added. Default 1. */
  readonly scale?: number | undefined;
}

export const embeddingNames = {
  positionOffset: true,
  starts: true,
  scale: true,
} satisfies OptionNames<EmbeddingOptions>;

/** What rotates the heads of a variable by their positions. */
export type Rotation = Omit<RopeOptions, 'inp' | 'out' | 'inverse'>;

export const rotationNames = {
  table: true,
  heads: true,
  positions: true,
  starts: true,
} satisfies OptionNames<Rotation>;

export const headNames = { nHead: true, nKvHead: true } satisfies OptionNames<AttentionHeads>;
export const rangeNames = { starts: true, ends: true } satisfies OptionNames<KeyRanges>;
export const affineNames = { weight: true, bias: true } satisfies OptionNames<Affine>;
export const linearNames = {
  ...affineNames,
  weightTransposed: true,
  activation: true,
  residual: true,
  dropout: true,
  float32: true,
  rowsApart: true,
} satisfies OptionNames<LinearLayer>;
