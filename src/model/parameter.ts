/** One parameter, as the tape and its operations see it, and what a model reads of all of them (parameterStore.ts). */
import type { Shape, Tensor } from '../engine/tensor.ts';
import type { AdaptedWeight } from './adaptedWeight.ts';

/** One parameter for the tape: a value, and the tensor that accumulates its gradient (absent outside training). */
export interface Parameter {
  /** Position in the order of the parameters. */
  readonly index: number;
  /** As in {@link ParameterSpec}. */
  readonly name: string;
  /** On the device. */
  readonly value: Tensor;
  /** Its accumulated gradient; undefined if it is frozen, and outside training. */
  readonly grad: Tensor | undefined;
  /** @internal The matrix that replaces `value` in computations; undefined without an adapter. */
  readonly adapted?: AdaptedWeight<Parameter> | undefined;
}

/** A parameter in its store, which decides which tensor has the value. */
export type StoredParameter = { -readonly [K in keyof Parameter]: Parameter[K] };

/** What a model reads of its parameters. */
export interface ModelParameters {
  /** The parameter with this name; InvariantError if the name is unknown. */
  get(name: string): Parameter;
  /** A table of constants, which `numbers` computes at its first use; equal names mean equal numbers. */
  constant(name: string, shape: Shape, numbers: () => Float32Array): Tensor;
  /** Brings the matrices of adapted weights up to date, if values have changed. */
  refresh(): void;
}
