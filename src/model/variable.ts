/** What operations of the tape (tape.ts) take and give: values with their gradients, and the layers that they are. */
import { invariant } from '../base/errors.ts';
import type { ActivationKind, Dropout, Shape, Tensor } from '../engine/engine.ts';
import type { Parameter } from './parameterStore.ts';

export type FloatType = 'float32' | 'bfloat16';

interface Activation {
  readonly kind: ActivationKind;
  readonly preActivation: Tensor;
}

/** The result of an operation on the tape. Valid until the tape's `backward` or `discard`. */
export class Variable {
  readonly shape: Shape;
  /** Of the value and of its gradient. */
  readonly dtype: FloatType;
  /** Absent once another operation took the buffer over. */
  buffer: Tensor | undefined;
  /** How many operations read it. */
  uses = 0;
  /** Whether a backward still needs the value, so that nothing may overwrite it. */
  saved = false;
  /** What made it of its operation's sum; `grad` may be that of the sum then. */
  activation: Activation | undefined;
  grad: Tensor | undefined;
  gradIsOfPreActivation = false;

  constructor(shape: Shape, dtype: FloatType, buffer?: Tensor) {
    this.shape = shape;
    this.dtype = dtype;
    this.buffer = buffer;
  }

  get value(): Tensor {
    invariant(this.buffer !== undefined, 'a variable was used after an operation took over its buffer');
    return this.buffer;
  }
}

/** The value of `x`, for one more operation. */
export function use(x: Variable): Tensor {
  x.uses++;
  return x.value;
}

/** The same, kept until the backward of that operation. */
export function save(x: Variable): Tensor {
  x.saved = true;
  return use(x);
}

export interface Affine {
  readonly weight: Parameter;
  readonly bias?: Parameter | undefined;
}

export interface LinearLayer extends Affine {
  /** [OC, IC] instead of [IC, OC]. */
  readonly weightTransposed?: boolean;
  /** Excludes `residual`. */
  readonly activation?: ActivationKind;
  /** Is added to the result, after `dropout` of that. */
  readonly residual?: Variable;
  readonly dropout?: Dropout | undefined;
}

/** One that a checkpoint ends in: its result is not computed a second time, so it can have no activation, whose backward needs more. */
export type LastLayer = LinearLayer & { readonly activation?: never };
