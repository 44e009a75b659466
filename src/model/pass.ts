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
import type { Dropout } from '../engine/dropout.ts';
import type { Tensor } from '../engine/tensor.ts';
import type { KeyValueCache } from './keyValueCache.ts';
import type { ModelParameters, Parameter } from './parameter.ts';
import type { CheckpointBody, Tape } from './tape.ts';
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

/** The sources of an encoder–decoder's sequences. */
export interface SourceTokens {
  /** [B, S] int32. */
  readonly tokens: Tensor;
  /** The length of each source, 1 to S. The tokens from there on are padding, to which nothing attends. */
  readonly lengths: ArrayLike<number>;
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
  /** What the model encodes in this pass. */
  readonly source?: SourceTokens | undefined;
  /** Whether a block's activations are released after the block. */
  readonly checkpoints: boolean;
}

/** What the blocks of a pass share. */
interface Places {
  /** Sites, numbered as forward reaches them. */
  dropout: number;
  attention: number;
  sourceAttention: number;
  /** The positions of the contexts' next tokens, from their first use on. */
  positions?: Tensor;
  /** The ends of sources for queries of the encoder [B, S] and of the decoder [B, T], from their first use on. */
  sourceEnds?: Tensor;
  targetEnds?: Tensor;
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
    places: Places = { dropout: 0, attention: 0, sourceAttention: 0 },
  ) {
    this.#tape = tape;
    this.#tokens = tokens;
    this.#parameters = parameters;
    this.#options = options;
    this.#places = places;
  }

  embedding(tokens: Tokens, tokenTable: ParameterSpec, positionTable?: ParameterSpec, scale = 1): Variable {
    const { contexts, starts, source } = this.#options;
    const [wte, wpe] = [this.#parameter(tokenTable), positionTable && this.#parameter(positionTable)];
    if (tokens === source?.tokens) return this.#tape.embedding(source.tokens, wte, wpe, { scale });
    invariant(tokens === this.#tokens, 'the tokens of a pass are those that its model was given');
    const positions = contexts?.map(({ position }) => position) ?? [0];
    // With a scale, the other kernel may round once less.
    const isApart = positions.length > 1 || (contexts !== undefined && scale !== 1 && this.#tokens.size === 1);
    if (isApart) return this.#tape.embeddingEach(this.#tokens, positions, wte, wpe, scale);
    return this.#tape.embedding(this.#tokens, wte, wpe, { positionOffset: positions[0]!, starts, scale });
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

  attention(qkv: Variable, { nHead, nKvHead = nHead, dropout, bidirectional = false }: Attention): Variable {
    const { contexts, starts } = this.#options;
    const heads = { nHead, nKvHead };
    const masks = this.#dropoutOf(dropout);
    if (bidirectional) {
      const [, length] = qkv.shape as [number, number];
      this.#places.sourceEnds ??= this.#endsOfSources(length);
      return this.#tape.attention(qkv, heads, masks, { ends: this.#places.sourceEnds });
    }
    const index = this.#places.attention++;
    if (contexts === undefined) return this.#tape.attention(qkv, heads, masks, starts && { starts });
    const time = qkv.shape.at(-2)!;
    const width = (qkv.shape.at(-1)! * nKvHead) / (nHead + 2 * nKvHead);
    const sequences = contexts.map(({ cache, position }) => ({
      ...cache.layer(index, width, position + time),
      position,
    }));
    return this.#tape.attentionDecode(qkv, sequences, heads);
  }

  sourceAttention(
    q: Variable,
    memory: Variable | undefined,
    keyValues: Linear,
    { nHead, nKvHead = nHead, dropout }: Attention,
  ): Variable {
    const { contexts } = this.#options;
    const heads = { nHead, nKvHead };
    const index = this.#places.sourceAttention++;
    const masks = this.#dropoutOf(dropout);
    const kv = memory && this.linear(memory, keyValues);
    if (contexts === undefined) {
      invariant(kv !== undefined, 'attention to a source needs what the encoder made of it');
      this.#places.targetEnds ??= this.#endsOfSources(q.shape[1]!);
      return this.#tape.crossAttention(q, kv, heads, { ends: this.#places.targetEnds }, masks);
    }
    const sources = contexts.map(({ cache }) => cache.sourceLayer(index, (q.shape.at(-1)! * nKvHead) / nHead));
    if (kv !== undefined) this.#tape.storeSource(kv, sources[0]!);
    return this.#tape.crossAttentionDecode(q, sources, heads);
  }

  dropout(x: Variable, rate: number): Variable {
    return this.#tape.dropout(x, this.#dropoutOf(rate));
  }

  block(x: Variable, module: Module, memory?: Variable): Variable {
    const on = (tape: Tape) => new Pass(tape, this.#tokens, this.#parameters, this.#options, this.#places);
    const { checkpoints, training = false } = this.#options;
    const others = memory ? [memory] : [];
    if (!checkpoints) {
      if (!training) return module(this, x, memory);
      return this.#tape.part(x, (tape, input, other) => module(on(tape), input, other), others);
    }
    const { dropout, attention, sourceAttention } = this.#places;
    const run: CheckpointBody = (tape, input, other) => {
      Object.assign(this.#places, { dropout, attention, sourceAttention }); // the second run uses the same sites as the first
      return module(on(tape), input, other);
    };
    return this.#tape.checkpoint(x, run, others);
  }

  /** For each of the queries of a sequence, the end of its source: [B, queries]. */
  #endsOfSources(queries: number): Tensor {
    const { source } = this.#options;
    invariant(source !== undefined, 'this pass has no source');
    const lengths = Array.from(source.lengths);
    const ends = Int32Array.from({ length: lengths.length * queries }, (_, i) => lengths[Math.floor(i / queries)]!);
    return this.#tape.upload(ends, [lengths.length, queries]);
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
