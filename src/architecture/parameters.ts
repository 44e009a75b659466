/** The parameters that a model declares: names, shapes, initial values. No tensors are allocated here. */
import { invariant } from '../base/errors.ts';

/** The same value everywhere. */
export interface ConstantInit {
  /** The value of every element. */
  readonly constant: number;
}

/** Normal, mean 0. */
export interface NormalInit {
  /** Standard deviation. */
  readonly std: number;
}

/** The fixed table of positions [T, C] of the first Transformer: sines in the first half of the channels, cosines in the second. */
export interface SinusoidalInit {
  /** Distinguishes it from other initial values. */
  readonly sinusoidal: true;
}

/**
 * A low-rank addition to a weight W [inputs, outputs] (Hu et al., "LoRA", 2021): the model multiplies with W + scale · (B·A)ᵀ, which is
 * exactly W while B is 0. A W that is stored as [outputs, inputs] gets the transpose of the addition.
 */
export interface Adapter {
  /** A [rank, inputs]. */
  readonly a: ParameterSpec;
  /** B [outputs, rank]. */
  readonly b: ParameterSpec;
  /** alpha / rank. */
  readonly scale: number;
  /** W is [outputs, inputs]. */
  readonly weightTransposed?: boolean;
}

/** How a weight divides into matrices that are merged in one product, such as queries, keys and values. */
export interface MergedMatrices {
  /** Along rows (0) or columns (1): the outputs of the linear layer. */
  readonly axis: 0 | 1;
  /** The number of rows or columns of each, in their order. */
  readonly lengths: readonly number[];
}

/** Properties of a parameter before it has memory. */
export interface ParameterSpec {
  /** As in checkpoints: `transformer.h.0.attn.c_attn.weight`. */
  readonly name: string;
  /** As in checkpoints: linear layers [inputs, outputs]. */
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  /** For the weight of a linear layer inside of a block, which `optimizer.kind: muon` updates by Muon: the matrices in it. */
  readonly matrices?: MergedMatrices | undefined;
  /** Whether weight decay applies: matrices only, never biases or layer norms. */
  readonly decay: boolean;
  /**
   * Whether training changes it; default true. `ifNamed`: only if the run selects it by other means than `all`. A parameter that is not
   * trained has no gradient and no moments.
   */
  readonly trainable?: boolean | 'ifNamed' | undefined;
  /** Its place from the end of the network: n in the n-th last block, 0 after the last block, undefined before the first. */
  readonly fromEnd?: number | undefined;
  /** Whether it belongs to the head and to nothing else. */
  readonly isHead?: boolean | undefined;
  /** Initial values: a constant, normal with this standard deviation, or the fixed table of positions. */
  readonly init: ConstantInit | NormalInit | SinusoidalInit;
  /** What is added to this weight wherever it is used. */
  readonly adapter?: Adapter | undefined;
  /** Whether it is a factor of an adapter. */
  readonly isAdapter?: boolean | undefined;
}

/** Selects the trained parameters; the others are frozen. */
export type IsTrained = (spec: ParameterSpec) => boolean;

/** Properties that the parameters of a part of the network have in common. */
export type PartPlace = Pick<ParameterSpec, 'fromEnd' | 'isHead' | 'trainable' | 'isAdapter'>;

/** Collects the parameters that a network declares next to their use. */
export class Declarations {
  readonly #prefix: string;
  readonly #place: PartPlace;
  readonly #specs: Map<string, ParameterSpec>;

  constructor(prefix = '', place: PartPlace = {}, specs = new Map<string, ParameterSpec>()) {
    this.#prefix = prefix;
    this.#place = place;
    this.#specs = specs;
  }

  /** Every parameter so far, in the order in which they were declared. */
  get specs(): readonly ParameterSpec[] {
    return [...this.#specs.values()];
  }

  /** The declarations of a part of the network, whose names start with `name` and a dot. @param place in addition to that of these */
  in(name: string, place: PartPlace = {}): Declarations {
    return new Declarations(`${this.#prefix}${name}.`, { ...this.#place, ...place }, this.#specs);
  }

  /** The same part, but its parameters also have these properties. */
  marked(place: PartPlace): Declarations {
    return new Declarations(this.#prefix, { ...this.#place, ...place }, this.#specs);
  }

  /** Declares a parameter with this name, prefixed by that of the part. InvariantError for invalid sizes or a duplicate name. */
  parameter(
    name: string,
    shape: readonly number[],
    init: ParameterSpec['init'],
    { adapter, matrices }: Pick<ParameterSpec, 'adapter' | 'matrices'> = {},
  ): ParameterSpec {
    const full = `${this.#prefix}${name}`;
    invariant(
      shape.every((length) => Number.isInteger(length) && length > 0),
      `parameter ${full} cannot have shape [${shape}]`,
    );
    invariant(!this.#specs.has(full), `two parameters are called ${full}`);
    const size = shape.reduce((product, n) => product * n, 1);
    const spec = {
      name: full,
      shape,
      size,
      decay: shape.length >= 2,
      init,
      ...this.#place,
      ...(adapter && { adapter }),
      ...(matrices && { matrices }),
    };
    this.#specs.set(full, spec);
    return spec;
  }
}
