/** What parameters a model declares: names, shapes, initial values. No tensor is allocated here. */
import { invariant } from '../base/errors.ts';

/** All alike. */
export interface ConstantInit {
  /** Of every element. */
  readonly constant: number;
}

/** Normal, mean 0. */
export interface NormalInit {
  /** Standard deviation. */
  readonly std: number;
}

/** What is known of a parameter before it has memory. */
export interface ParameterSpec {
  /** As in checkpoints: `transformer.h.0.attn.c_attn.weight`. */
  readonly name: string;
  /** As in checkpoints: linear layers [inputs, outputs]. */
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  /** Whether AdamW's weight decay applies: matrices only, never biases or layer norms. */
  readonly decay: boolean;
  /** Whether training changes it; default true. One that it does not has no gradient and no moments. */
  readonly trainable?: boolean;
  /** Initial values: a constant, or normal with this standard deviation. */
  readonly init: ConstantInit | NormalInit;
}

/** Which parameters are trained; the others are frozen. */
export type IsTrained = (spec: ParameterSpec) => boolean;

/** Where a network declares its parameters, beside their use. */
export class Declarations {
  readonly #prefix: string;
  readonly #specs: Map<string, ParameterSpec>;

  constructor(prefix = '', specs = new Map<string, ParameterSpec>()) {
    this.#prefix = prefix;
    this.#specs = specs;
  }

  /** Every parameter so far, in the order in which they were declared. */
  get specs(): readonly ParameterSpec[] {
    return [...this.#specs.values()];
  }

  /** Of a part of the network, whose names start with `name` and a dot. */
  in(name: string): Declarations {
    return new Declarations(`${this.#prefix}${name}.`, this.#specs);
  }

  /** A parameter of this name, below that of the part. InvariantError if the sizes are none, or the name is taken. */
  parameter(name: string, shape: readonly number[], init: ParameterSpec['init']): ParameterSpec {
    const full = `${this.#prefix}${name}`;
    invariant(
      shape.every((length) => Number.isInteger(length) && length > 0),
      `parameter ${full} cannot have shape [${shape}]`,
    );
    invariant(!this.#specs.has(full), `two parameters are called ${full}`);
    const size = shape.reduce((product, n) => product * n, 1);
    const spec = { name: full, shape, size, decay: shape.length >= 2, init };
    this.#specs.set(full, spec);
    return spec;
  }
}
