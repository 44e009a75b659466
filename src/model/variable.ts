/** What operations of the tape (tape.ts) take and give: values with their gradients, and the layers that they are. */
import type { ActivationKind } from '../base/activations.ts';
import { invariant } from '../base/errors.ts';
import type { Dropout } from '../engine/kernels.ts';
import type { Shape, Tensor } from '../engine/tensor.ts';
import type { Parameter } from './parameterStore.ts';

/** Of values and gradients. */
export type FloatType = 'float32' | 'bfloat16';

interface Activation {
  readonly kind: ActivationKind;
  readonly preActivation: Tensor;
}

/** The result of an operation on the tape. Valid until the tape's `backward` or `discard`. */
export class Variable {
  /** Of the value and of its gradient. */
  readonly shape: Shape;
  /** Of the value and of its gradient. */
  readonly dtype: FloatType;
  /** @internal Absent where it is not computed, or not any more. */
  buffer: Tensor | undefined;
  /** @internal How many operations read it. */
  uses = 0;
  /** @internal Whether a backward still needs the value, so that nothing may overwrite it. */
  saved = false;
  /** @internal Whether the value stays until the tape's `discard`, though no backward needs it any more. */
  kept = false;
  /** @internal Whether something that is trained lies below it, so that its gradient is wanted. */
  needsGrad = false;
  /** @internal What made it of its operation's sum; `grad` may be that of the sum then. */
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
      'a variable was used that has no value: its tape went backward, or was discarded',
    );
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

/** A weight and a bias, of a layer norm or a linear layer. */
export interface Affine {
  /** Of a layer norm (C), of a linear layer (IC, OC). */
  readonly weight: Parameter;
  /** (OC); absent in models without. */
  readonly bias?: Parameter | undefined;
}

/** A linear layer, with what follows it in the same pass over memory. */
export interface LinearLayer extends Affine {
  /** [OC, IC] instead of [IC, OC]. */
  readonly weightTransposed?: boolean;
  /** Excludes `residual`. */
  readonly activation?: ActivationKind;
  /** Is added to the result, after `dropout` of that. */
  readonly residual?: Variable;
  /** Of what is added to `residual`. */
  readonly dropout?: Dropout | undefined;
  /** Each row of the result has the bits that it has alone. */
  readonly rowsApart?: boolean;
}
