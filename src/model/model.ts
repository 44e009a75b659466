/**
 * A model over parameters on an engine: hidden states, losses, and what generation needs, of whichever architecture. The forward pass
 * itself is the architecture's (architecture/gpt2.ts), the backward pass the tape's. No optimizer, no data, no sampling here.
 *
 * B batch, T time, C channels, V vocabulary.
 */
import type { Network } from '../architecture/architecture.ts';
import { type ModelConfig, networkOf } from '../architecture/registry.ts';
import { invariant } from '../base/errors.ts';
import type { Engine, Tensor } from '../engine/engine.ts';
import type { ActivationRecompute } from './computing.ts';
import { KeyValueCache } from './keyValueCache.ts';
import type { Parameters } from './parameterStore.ts';
import { type CachedContext, type DropoutSource, Pass, type PassOptions } from './pass.ts';
import type { Tape } from './tape.ts';
import type { LinearLayer, Variable } from './variable.ts';

/** How losses are computed. */
export interface LossOptions {
  /** What each target's loss weighs in the gradient; absent: no backward will follow. */
  readonly lossScale?: number | undefined;
  /** Absent: nothing is dropped. */
  readonly dropout?: DropoutSource | undefined;
  /** Default `none`. */
  readonly activationRecompute?: ActivationRecompute | undefined;
}

/** A model of any architecture. Holds no memory of its own. */
export class Model {
  /** Which architecture, and its sizes. */
  readonly config: ModelConfig;
  readonly #engine: Engine;
  readonly #parameters: Parameters;
  readonly #network: Network;
  readonly #head: LinearLayer | undefined;

  /** The parameters are those of this config, on this engine. */
  constructor(engine: Engine, config: ModelConfig, parameters: Parameters) {
    this.config = config;
    this.#engine = engine;
    this.#parameters = parameters;
    this.#network = networkOf(config);
    const { head } = this.#network;
    this.#head = head && {
      weight: parameters.get(head.weight.name),
      weightTransposed: head.weightTransposed ?? false,
    };
  }

  /** Logits [B, T, V] of tokens [B, T] int32: to compare the model with others, since training never has them all. */
  forward(tape: Tape, tokens: Tensor): Variable {
    return this.#logits(tape, this.#hidden(tape, tokens, { checkpoints: false }));
  }

  /**
   * Losses [B·T] of tokens [B, T] int32 against targets [B·T] int32 (-1: none), valid until the tape's `discard`. With `lossScale` its
   * `backward` can follow, from the gradient of lossScale · (sum of losses). Without `dropout` nothing is dropped.
   */
  losses(
    tape: Tape,
    tokens: Tensor,
    targets: Tensor,
    { lossScale, dropout, activationRecompute }: LossOptions = {},
  ): Tensor {
    const training = lossScale !== undefined;
    const checkpoints = !training || activationRecompute === 'block';
    const hidden = this.#hidden(tape, tokens, { dropout, training, checkpoints }); // (B, T, C)
    if (this.#head === undefined) return tape.crossEntropy(hidden, targets, lossScale).value;
    return tape.linearCrossEntropy(hidden, this.#head, targets, lossScale).value;
  }

  /** Logits [1, V] of the last of tokens [1, T] alone: what generation needs of a whole window. There is no backward. */
  forwardLast(tape: Tape, tokens: Tensor): Variable {
    return this.#logits(tape, tape.lastRow(this.#hidden(tape, tokens, { checkpoints: true })));
  }

  /**
   * Logits [1, V] of the last of tokens [1, T] that stand at `position` and after it, given the cache of those before them, which
   * they extend. There is no backward.
   */
  decode(tape: Tape, tokens: Tensor, context: CachedContext): Variable {
    return this.#logits(tape, tape.lastRow(this.extendCache(tape, tokens, context)));
  }

  /** Extends the cache as `decode` does, without the logits; the final hidden states [1, T, C]. */
  extendCache(tape: Tape, tokens: Tensor, context: CachedContext): Variable {
    return this.#hidden(tape, tokens, { context, checkpoints: tokens.size > 1 });
  }

  /** An empty cache for `decode`; its `release` gives its memory back. */
  newCache(): KeyValueCache {
    return new KeyValueCache(this.#engine, this.config.blockSize);
  }

  /** Final hidden states [B, T, C] of tokens [B, T], or logits where the architecture has no head. */
  #hidden(tape: Tape, tokens: Tensor, options: PassOptions): Variable {
    const end = (options.context?.position ?? 0) + tokens.shape[1]!;
    const { blockSize } = this.config;
    invariant(end <= blockSize, `a sequence of ${end} tokens is longer than blockSize ${blockSize}`);
    return this.#network.forward(new Pass(tape, tokens, this.#parameters, options), tokens);
  }

  #logits(tape: Tape, hidden: Variable): Variable {
    return this.#head === undefined ? hidden : tape.linear(hidden, this.#head);
  }
}
