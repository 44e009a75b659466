/**
 * One pass of a model: the operations of `architecture/ops.ts`, computed on a tape. A pass manages what the model need not know: the random
 * streams of dropout, the cache of keys and values, and whether blocks are recomputed.
 */
import type {
  AfterLinear,
  Attention,
  Affine as DeclaredAffine,
  Linear,
  Module,
  Ops,
  Rope,
  Tokens,
} from '../architecture/ops.ts';
import type { ParameterSpec } from '../architecture/parameters.ts';
import { rotaryTable } from '../architecture/rotaryTable.ts';
import type { ActivationKind } from '../base/activations.ts';
import { invariant } from '../base/errors.ts';
import type { Dropout } from '../engine/kernels.ts';
import type { Tensor } from '../engine/tensor.ts';
import type { KeyValueCache } from './keyValueCache.ts';
import type { ModelParameters, Parameter } from './parameterStore.ts';
import type { Tape } from './tape.ts';
import type { Affine, Variable } from './variable.ts';

/** Selects the dropout masks of a batch: they depend on the samples, not on their split into microbatches. */
export interface DropoutSource {
  /** The seed of the run. */
  readonly seed: number;
  /** The update of the run to which the batch belongs; 1 is the first, as in the metrics. Other numbers give other masks. */
  readonly step: number;
  /** The index of this batch's first sequence in the step's global batch; the others follow it. */
  readonly firstSample: number;
}

/** A context that tokens continue, with the cache of its keys and values. */
export interface CachedContext {
  /** Keys and values of the tokens before these; it is extended. */
  readonly cache: KeyValueCache;
  /** The position of the first token: the number of tokens in the cache. */
  readonly position: number;
}

/** The purpose of a pass. */
export interface PassOptions {
  /** Absent: nothing is dropped. */
  readonly dropout?: DropoutSource | undefined;
  /** A training pass of a model with dropout must know its samples: InvariantError without `dropout`. */
  readonly training?: boolean;
  /**
   * The contexts of the B sequences whose next T tokens these are; T is 1 if B is greater than 1. Then the bits of a row do not depend on the other rows.
   * Absent: the tokens are complete sequences.
   */
  readonly contexts?: readonly CachedContext[] | undefined;
  /** The starts of documents [B, T] int32 (see `ForwardOptions`). Excludes `contexts`. */
  readonly starts?: Tensor | undefined;
  /** Whether a block's activations are released after the block. */
  readonly checkpoints: boolean;
}

/** What the blocks of a pass share. */
interface Places {
  /** Sites, numbered as forward reaches them. */
  dropout: number;
  attention: number;
  /** The positions of the contexts' next tokens, from their first use on. */
  positions?: Tensor;
}

export class Pass implements Ops<Variable> {
  readonly #tape: Tape;
  readonly #tokens: Tensor;
  readonly #parameters: ModelParameters;
  readonly #options: PassOptions;
  readonly #places: Places;

  /** A pass over tokens [B, T] int32; leave out `places`. */
  constructor(
    tape: Tape,
    tokens: Tensor,
    parameters: ModelParameters,
    options: PassOptions,
    places: Places = { dropout: 0, attention: 0 },
  ) {
    this.#tape = tape;
    this.#tokens = tokens;
    this.#parameters = parameters;
    this.#options = options;
    this.#places = places;
  }

  embedding(tokens: Tokens, tokenTable: ParameterSpec, positionTable?: ParameterSpec): Variable {
    invariant(tokens === this.#tokens, 'the tokens of a pass are those that its model was given');
    const [wte, wpe] = [this.#parameter(tokenTable), positionTable && this.#parameter(positionTable)];
    const positions = this.#options.contexts?.map(({ position }) => position) ?? [0];
    if (positions.length > 1) return this.#tape.embeddingEach(this.#tokens, positions, wte, wpe);
    return this.#tape.embedding(this.#tokens, wte, wpe, positions[0], this.#options.starts);
  }

  layerNorm(x: Variable, norm: DeclaredAffine, eps: number): Variable {
    return this.#tape.layerNorm(x, this.#affine(norm), eps);
  }

  rmsNorm(x: Variable, { weight }: Pick<DeclaredAffine, 'weight'>, eps: number): Variable {
    return this.#tape.rmsNorm(x, this.#parameter(weight), eps);
  }

  rope(qkv: Variable, { heads, headSize, theta, scaling = [], positions: rows }: Rope): Variable {
    const name = `rotary table of ${rows} positions, ${headSize} numbers, theta ${theta}, scaling [${scaling}]`;
    const shape = [rows, 2, headSize / 2];
    const table = this.#parameters.constant(name, shape, () => rotaryTable(rows, headSize, theta, scaling));
    const { contexts, starts } = this.#options;
    return this.#tape.rope(qkv, {
      table,
      heads,
      ...(contexts && { positions: this.#positionsOf(contexts) }),
      ...(starts && { starts }),
    });
  }

  gated(x: Variable, kind: ActivationKind): Variable {
    return this.#tape.gated(x, kind);
  }

  linear(x: Variable, layer: Linear, { activation, residual, dropout }: AfterLinear<Variable> = {}): Variable {
    return this.#tape.linear(x, {
      ...this.#affine(layer),
      weightTransposed: layer.weightTransposed ?? false,
      ...(activation && { activation }),
      ...(residual && { residual }),
      dropout: this.#dropoutOf(dropout),
      ...(this.#options.contexts && this.#options.contexts.length > 1 && { rowsApart: true }),
    });
  }

  attention(qkv: Variable, { nHead, nKvHead = nHead, dropout }: Attention): Variable {
    const { contexts, starts } = this.#options;
    const heads = { nHead, nKvHead };
    const index = this.#places.attention++;
    const masks = this.#dropoutOf(dropout);
    if (contexts === undefined) return this.#tape.attention(qkv, heads, masks, starts && { starts });
    const time = qkv.shape.at(-2)!;
    const width = (qkv.shape.at(-1)! * nKvHead) / (nHead + 2 * nKvHead);
    const sequences = contexts.map(({ cache, position }) => ({
      ...cache.layer(index, width, position + time),
      position,
    }));
    return this.#tape.attentionDecode(qkv, sequences, heads);
  }

  dropout(x: Variable, rate: number): Variable {
    return this.#tape.dropout(x, this.#dropoutOf(rate));
  }

  block(x: Variable, module: Module): Variable {
    const on = (tape: Tape) => new Pass(tape, this.#tokens, this.#parameters, this.#options, this.#places);
    const { checkpoints, training = false } = this.#options;
    if (!checkpoints) {
      return training ? this.#tape.part(x, (tape, input) => module(on(tape), input)) : module(this, x);
    }
    const start = { ...this.#places };
    return this.#tape.checkpoint(x, (tape, input) => {
      Object.assign(this.#places, start); // the second run uses the same sites as the first
      return module(on(tape), input);
    });
  }

  /** The positions of the contexts' next tokens, uploaded once in a pass. */
  #positionsOf(contexts: readonly CachedContext[]): Tensor {
    this.#places.positions ??= this.#tape.upload(
      Int32Array.from(contexts, ({ position }) => position),
      [contexts.length],
    );
    return this.#places.positions;
  }

  /** The masks of the next site with dropout. */
  #dropoutOf(rate: number | undefined): Dropout | undefined {
    if (rate === undefined) return undefined;
    const site = this.#places.dropout++;
    const { dropout: source, training = false } = this.#options;
    if (rate === 0) return undefined;
    invariant(source !== undefined || !training, 'a model with dropout needs to know its samples');
    return source && { rate, ...source, site };
  }

  #affine({ weight, bias }: DeclaredAffine): Affine {
    return { weight: this.#parameter(weight), bias: bias && this.#parameter(bias) };
  }

  #parameter({ name }: ParameterSpec): Parameter {
    return this.#parameters.get(name);
  }
}
