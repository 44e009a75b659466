/**
 * A model of any architecture, with parameters on an engine: hidden states, losses, and functions for generation. The architecture defines the
 * forward pass (architecture/gpt2.ts), the tape the backward pass. Optimizer, data and sampling are elsewhere.
 *
 * B batch, T time, C channels, V vocabulary.
 */
import type { Network } from '../architecture/architecture.ts';
import type { Linear } from '../architecture/ops.ts';
import { type ModelConfig, networkOf } from '../architecture/registry.ts';
import { invariant } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import type { Engine } from '../engine/engine.ts';
import type { Tensor } from '../engine/tensor.ts';
import type { ActivationRecompute } from './computing.ts';
import { KeyValueCache } from './keyValueCache.ts';
import type { LossGradient } from './operations/losses.ts';
import type { ModelParameters } from './parameter.ts';
import { type CachedContext, type DropoutSource, Pass, type PassOptions, type SourceTokens } from './pass.ts';
import type { Tape } from './tape.ts';
import type { LinearLayer, Variable } from './variable.ts';

/** How a forward pass runs. */
export interface ForwardOptions {
  /** Whether a backward pass follows, from a seed or from losses with a scale. Default: if there is a `lossScale`. */
  readonly training?: boolean | undefined;
  /**
   * Absent: nothing is dropped; a training pass of a model with dropout refuses this. Two passes with the same source drop the same
   * elements.
   */
  readonly dropout?: DropoutSource | undefined;
  /** Recomputation in a training pass. Default `none`. */
  readonly activationRecompute?: ActivationRecompute | undefined;
  /**
   * [B, T] int32, for documents that share a row: the first position of the document that each position belongs to. A token then
   * attends only to its own document, from whose start positions count. Absent: each row is one document.
   */
  readonly starts?: Tensor | undefined;
  /** The source of each sequence, which an encoder–decoder needs and other models do not have. Excludes `starts`. */
  readonly source?: SourceTokens | undefined;
}

/** How losses are computed. */
export interface LossOptions extends ForwardOptions {
  /** The weight of each target's loss in the gradient, which is computed with the losses. Absent: no gradient is computed, and the losses may be a seed. */
  readonly lossScale?: number | undefined;
  /** [B·T] float32, an additional weight of each row's loss in that gradient; the losses are not weighted. Absent: 1. */
  readonly weights?: Tensor | undefined;
}

const forwardNames = {
  training: true,
  dropout: true,
  activationRecompute: true,
  starts: true,
  source: true,
} satisfies OptionNames<ForwardOptions>;
const lossNames = { ...forwardNames, lossScale: true, weights: true } satisfies OptionNames<LossOptions>;

/** A model of any architecture. It owns no memory. */
export class Model {
  /** The architecture and its sizes. */
  readonly config: ModelConfig;
  readonly #engine: Engine;
  readonly #parameters: ModelParameters;
  readonly #network: Network;
  readonly #head: LinearLayer | undefined;
  readonly #valueHead: LinearLayer | undefined;

  /** The parameters must be those of this config, on this engine. */
  constructor(engine: Engine, config: ModelConfig, parameters: ModelParameters) {
    this.config = config;
    this.#engine = engine;
    this.#parameters = parameters;
    this.#network = networkOf(config);
    const { head, valueHead } = this.#network;
    this.#head = head && layerOf(head, parameters);
    this.#valueHead = valueHead && layerOf(valueHead, parameters);
  }

  /**
   * All logits [B, T, V] of tokens [B, T] int32, which may be a seed of the tape's `backward`. Use them to compare models, or for
   * objectives on single logits. The losses of all targets need less memory. The logits of a model with labels are [B, T, K], and
   * float32 in any precision.
   */
  forward(tape: Tape, tokens: Tensor, options: ForwardOptions = {}): Variable {
    checkOptionNames('forward', options, forwardNames);
    return this.#logits(tape, this.#hidden(tape, tokens, passOf(options)));
  }

  /**
   * Losses [B·T] of tokens [B, T] int32 against targets [B·T] int32 (a token or class; -1: masked, its loss is 0), valid until the tape's `discard`.
   * `backward` may follow: with `lossScale` it starts from lossScale · Σ weights · losses, otherwise from the losses as a seed.
   */
  losses(tape: Tape, tokens: Tensor, targets: Tensor, options: LossOptions = {}): Variable {
    checkOptionNames('losses', options, lossNames);
    const { lossScale: scale, weights, training = scale !== undefined } = options;
    const hidden = this.#hidden(tape, tokens, passOf({ ...options, training })); // (B, T, C)
    return this.#losses(tape, hidden, targets, { scale, weights });
  }

  /** The values [B, T, 1] of a model with a value head: float32, for each token of [B, T] int32 that of its prefix. */
  values(tape: Tape, tokens: Tensor, options: ForwardOptions = {}): Variable {
    checkOptionNames('values', options, forwardNames);
    return this.#values(tape, this.#hidden(tape, tokens, passOf(options)));
  }

  /** Losses without a scale, as `losses` computes them, and values, from one pass. Both may be seeds of the tape's `backward`. */
  lossesAndValues(
    tape: Tape,
    tokens: Tensor,
    targets: Tensor,
    options: ForwardOptions = {},
  ): {
    /** [B·T]. */
    readonly losses: Variable;
    /** [B, T, 1]. */
    readonly values: Variable;
  } {
    checkOptionNames('lossesAndValues', options, forwardNames);
    const hidden = this.#hidden(tape, tokens, passOf(options)); // (B, T, C)
    return { losses: this.#losses(tape, hidden, targets, {}), values: this.#values(tape, hidden) };
  }

  /** Logits [1, V] of only the last of tokens [1, T], for generation from a complete window. It has no backward. */
  forwardLast(tape: Tape, tokens: Tensor, source?: SourceTokens): Variable {
    return this.#logits(tape, tape.lastRow(this.#hidden(tape, tokens, { checkpoints: true, source })));
  }

  /**
   * Logits [1, V] of the last of tokens [1, T], which start at `position` and extend the cache of the tokens before
   * them. It has no backward.
   */
  decode(tape: Tape, tokens: Tensor, context: CachedContext): Variable {
    return this.#logits(tape, tape.lastRow(this.extendCache(tape, tokens, context)));
  }

  /**
   * Logits [B, V] of the next token of each of B sequences: tokens [B, 1] extend their caches. A sequence's logits are those of
   * `decode`, bit for bit. It has no backward.
   */
  decodeEach(tape: Tape, tokens: Tensor, contexts: readonly CachedContext[]): Variable {
    const [batchSize, time] = tokens.shape;
    invariant(batchSize === contexts.length && time === 1, `expected tokens [${contexts.length}, 1]`);
    const hidden = this.#hidden(tape, tokens, { contexts, checkpoints: false });
    return this.#logits(tape, hidden, contexts.length > 1);
  }

  /** Extends the cache as `decode` does, without the logits; the final hidden states [1, T, C]. */
  extendCache(tape: Tape, tokens: Tensor, context: CachedContext): Variable {
    return this.#hidden(tape, tokens, { contexts: [context], checkpoints: tokens.size > 1 });
  }

  /** An empty cache for `decode`; its `release` frees the memory. @param source the tokens of the sequence's source, in an encoder–decoder */
  newCache(source?: ArrayLike<number>): KeyValueCache {
    this.#checkSource(source !== undefined);
    return new KeyValueCache(this.#engine, this.config.blockSize, source);
  }

  /** Final hidden states [B, T, C] of tokens [B, T], or logits if the architecture has no head. */
  #hidden(tape: Tape, tokens: Tensor, options: PassOptions): Variable {
    const positions = options.contexts?.map(({ position }) => position) ?? [0];
    const end = Math.max(...positions) + tokens.shape[1]!;
    const { blockSize } = this.config;
    invariant(end <= blockSize, `a sequence of ${end} tokens is longer than blockSize ${blockSize}`);
    this.#parameters.refresh();
    const { contexts } = options;
    this.#checkSource(contexts ? contexts.every(({ cache }) => cache.hasSource) : options.source !== undefined);
    if (contexts === undefined) return this.#forward(tape, tokens, options);
    const unread = contexts.filter(({ cache }) => cache.sourceToEncode !== undefined);
    if (unread.length === 0) return this.#forward(tape, tokens, options);
    invariant(contexts.length === 1, 'a source is encoded in a pass of its own sequence');
    const { cache } = contexts[0]!;
    const sourceTokens = cache.sourceToEncode!;
    const [ids, lengths] = [tape.upload(sourceTokens, [1, sourceTokens.length]), [sourceTokens.length]];
    // However few tokens there are of the target: the encoder's blocks must not keep the activations of a complete source.
    const hidden = this.#forward(tape, tokens, { ...options, checkpoints: true, source: { tokens: ids, lengths } });
    cache.sourceEncoded();
    return hidden;
  }

  /** The network over checked options. */
  #forward(tape: Tape, tokens: Tensor, options: PassOptions): Variable {
    const { source } = options;
    const pass = new Pass(tape, tokens, this.#parameters, options);
    if (source === undefined) return this.#network.forward(pass, tokens);
    const [batchSize, length] = source.tokens.shape as [number, number];
    const { blockSize } = this.config;
    invariant(length <= blockSize, `a source of ${length} tokens is longer than blockSize ${blockSize}`);
    invariant(
      batchSize === tokens.shape[0] && source.lengths.length === batchSize,
      `expected a source and its length for each of ${tokens.shape[0]} sequences, received ${batchSize} and ${source.lengths.length}`,
    );
    invariant(options.starts === undefined, 'documents that share a row have no sources');
    return this.#network.forward(pass, tokens, this.#network.encode!(pass, source.tokens));
  }

  #checkSource(hasSource: boolean): void {
    const needsSource = this.#network.encode !== undefined;
    invariant(
      hasSource === needsSource,
      needsSource ? 'an encoder–decoder needs a source' : 'a model without an encoder has no source',
    );
  }

  /** Losses [B·T] from what `#hidden` returns. */
  #losses(tape: Tape, hidden: Variable, targets: Tensor, gradient: LossGradient): Variable {
    if (this.#head === undefined) return tape.crossEntropy(hidden, targets, gradient);
    return tape.linearCrossEntropy(hidden, this.#head, targets, gradient);
  }

  #values(tape: Tape, hidden: Variable): Variable {
    invariant(this.#valueHead !== undefined, 'the model has no value head');
    return tape.linear(hidden, { ...this.#valueHead, float32: true });
  }

  #logits(tape: Tape, hidden: Variable, rowsApart = false): Variable {
    if (this.#head === undefined) return hidden;
    // Losses of classes and scores are computed from these numbers, not from probabilities that a kernel computes.
    const float32 = this.#network.labels !== undefined;
    return tape.linear(hidden, { ...this.#head, rowsApart, float32 });
  }
}

function layerOf({ weight, weightTransposed = false }: Linear, parameters: ModelParameters): LinearLayer {
  return { weight: parameters.get(weight.name), weightTransposed };
}

/** A pass without backward releases its activations block by block. */
function passOf({ training = false, dropout, activationRecompute, starts, source }: ForwardOptions): PassOptions {
  return { dropout, training, starts, source, checkpoints: !training || activationRecompute === 'block' };
}
