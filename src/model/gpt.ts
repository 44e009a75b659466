/**
 * GPT-2, forward only: the backward pass is the tape's. No optimizer, no data, no sampling here.
 * After "Language Models are Unsupervised Multitask Learners" (Radford et al., 2019) and nanoGPT's model.py
 * (https://github.com/karpathy/nanoGPT), whose structure it follows.
 *
 * B batch, T time, C channels (nEmbd), V vocabulary, N rows (B·T).
 */
import { invariant } from '../base/errors.ts';
import type { Dropout, Engine, Tensor } from '../engine/engine.ts';
import { type ActivationRecompute, layerNormEps, type ModelConfig } from './config.ts';
import type { Parameter, Parameters } from './parameterStore.ts';
import type { CheckpointBody, LayerCache, Tape } from './tape.ts';
import type { Affine, LinearLayer, Variable } from './variable.ts';

/** Which dropout masks a batch gets: they depend on the samples, not on how these are split into microbatches. */
export interface DropoutSource {
  /** Of the run. */
  readonly seed: number;
  /** From 0. */
  readonly step: number;
  /** The index of this batch's first sequence in the step's global batch; the others follow it. */
  readonly firstSample: number;
}

/** Keys and values of the tokens seen so far, [blockSize, C] for each layer. */
export interface KeyValueCache {
  /** One for each block. */
  readonly layers: readonly LayerCache[];
}

interface Block {
  readonly ln1: Affine;
  readonly cAttn: Affine;
  readonly attnProj: Affine;
  readonly ln2: Affine;
  readonly cFc: Affine;
  readonly mlpProj: Affine;
}

/** What differs between attending over a whole batch and over a cache. */
type Attend = (tape: Tape, layer: number, qkv: Variable) => Variable;
/** The dropout of one place in the model, or none. */
type DropoutAt = (site: number) => Dropout | undefined;

interface Pass {
  readonly attend: Attend;
  readonly dropoutAt: DropoutAt;
  /** Whether a block's activations are given up when it is through. */
  readonly checkpoints?: boolean;
}

/** How losses are computed. */
export interface LossOptions {
  /** What each target's loss weighs in the gradient; absent: no backward will follow. */
  readonly lossScale?: number | undefined;
  /** Absent: nothing is dropped. */
  readonly dropout?: DropoutSource | undefined;
  /** Default `none`. */
  readonly activationRecompute?: ActivationRecompute | undefined;
}

const noDropout: DropoutAt = () => undefined;

/** A GPT-2 over parameters on an engine. Holds no memory of its own. */
export class GPT {
  /** Its sizes. */
  readonly config: ModelConfig;
  readonly #engine: Engine;
  readonly #wte: Parameter;
  readonly #wpe: Parameter;
  readonly #blocks: readonly Block[];
  readonly #lnF: Affine;
  readonly #head: LinearLayer;

  /** The parameters are those of this config, on this engine. */
  constructor(engine: Engine, config: ModelConfig, parameters: Parameters) {
    this.config = config;
    this.#engine = engine;
    const get = (name: string): Parameter => parameters.list[parameters.indexOf(name)]!;
    const affine = (name: string): Affine => ({ weight: get(`${name}.weight`), bias: parameters.find(`${name}.bias`) });
    this.#wte = get('transformer.wte.weight');
    this.#wpe = get('transformer.wpe.weight');
    this.#blocks = Array.from({ length: config.nLayer }, (_, layer) => ({
      ln1: affine(`transformer.h.${layer}.ln_1`),
      cAttn: affine(`transformer.h.${layer}.attn.c_attn`),
      attnProj: affine(`transformer.h.${layer}.attn.c_proj`),
      ln2: affine(`transformer.h.${layer}.ln_2`),
      cFc: affine(`transformer.h.${layer}.mlp.c_fc`),
      mlpProj: affine(`transformer.h.${layer}.mlp.c_proj`),
    }));
    this.#lnF = affine('transformer.ln_f');
    this.#head = { weight: config.tiedHead ? this.#wte : get('lm_head.weight'), weightTransposed: true };
  }

  /** Logits [N, V] of tokens [B, T] int32: to compare the model with others, since training never has them all. */
  forward(tape: Tape, tokens: Tensor): Variable {
    return this.#logits(tape, this.#hidden(tape, tokens));
  }

  /**
   * Losses [N] of tokens [B, T] int32 against targets [N] int32 (-1: none), valid until the tape's `discard`. With `lossScale` its
   * `backward` can follow, from the gradient of lossScale · (sum of losses). Without `dropout` nothing is dropped.
   */
  losses(
    tape: Tape,
    tokens: Tensor,
    targets: Tensor,
    { lossScale, dropout, activationRecompute }: LossOptions = {},
  ): Tensor {
    const checkpoints = lossScale === undefined || activationRecompute === 'block';
    const hidden = this.#hidden(tape, tokens, dropout, checkpoints); // (N, C)
    return tape.linearCrossEntropy(hidden, this.#head, targets, lossScale).value;
  }

  /** Logits [1, V] of the last of tokens [1, T] alone: what generation needs of a whole window. There is no backward. */
  forwardLast(tape: Tape, tokens: Tensor): Variable {
    return this.#logits(tape, tape.lastRow(this.#hidden(tape, tokens, undefined, true)));
  }

  /**
   * Logits [1, V] of the last of tokens [1, T] that stand at `position` and after it, given the cache of those before them, which
   * they extend. There is no backward.
   */
  decode(tape: Tape, tokens: Tensor, position: number, cache: KeyValueCache): Variable {
    return this.#logits(tape, tape.lastRow(this.extendCache(tape, tokens, position, cache)));
  }

  /** Extends the cache as `decode` does, without the logits; the final hidden states [T, C]. */
  extendCache(tape: Tape, tokens: Tensor, position: number, cache: KeyValueCache): Variable {
    const x = tape.embedding(tokens, this.#wte, this.#wpe, position); // (1, T, C)
    const attend: Attend = (on, layer, qkv) =>
      on.attentionDecode(qkv, cache.layers[layer]!, position, this.config.nHead);
    return this.#layers(tape, x, { attend, dropoutAt: noDropout, checkpoints: tokens.size > 1 });
  }

  /** An empty cache; `releaseCache` gives it back. */
  allocCache(): KeyValueCache {
    const shape = [this.config.blockSize, this.config.nEmbd];
    return { layers: this.#blocks.map(() => ({ keys: this.#engine.alloc(shape), values: this.#engine.alloc(shape) })) };
  }

  /** Gives the cache's memory back. */
  releaseCache(cache: KeyValueCache): void {
    for (const { keys, values } of cache.layers) {
      this.#engine.release(keys);
      this.#engine.release(values);
    }
  }

  /** Final hidden states [N, C] of tokens [B, T]. */
  #hidden(tape: Tape, tokens: Tensor, source?: DropoutSource, checkpoints = false): Variable {
    const T = tokens.shape[1]!;
    invariant(
      T <= this.config.blockSize,
      `a sequence of ${T} tokens is longer than blockSize ${this.config.blockSize}`,
    );
    const dropoutAt = this.#dropoutAt(source);

    let x = tape.embedding(tokens, this.#wte, this.#wpe); // (B, T, C)
    x = tape.dropout(x, dropoutAt(0));
    const attend: Attend = (on, layer, qkv) => on.attention(qkv, this.config.nHead, dropoutAt(3 * layer + 1));
    return this.#layers(tape, x, { attend, dropoutAt, checkpoints });
  }

  #layers(tape: Tape, input: Variable, pass: Pass): Variable {
    let x = input; // (B, T, C)
    for (const layer of this.#blocks.keys()) {
      const body: CheckpointBody = (on, blockInput) => this.#block(on, blockInput, layer, pass);
      x = pass.checkpoints ? tape.checkpoint(x, body) : body(tape, x);
    }
    const [B, T, C] = x.shape as [number, number, number];
    return this.#layerNorm(tape, x, this.#lnF, [B * T, C]); // (N, C)
  }

  #block(tape: Tape, input: Variable, layer: number, { attend, dropoutAt }: Pass): Variable {
    const block = this.#blocks[layer]!;
    const qkv = tape.linear(this.#layerNorm(tape, input, block.ln1), block.cAttn); // (B, T, 3C)
    const y = attend(tape, layer, qkv); // (B, T, C)
    const x = tape.linear(y, { ...block.attnProj, residual: input, dropout: dropoutAt(3 * layer + 2) });
    const inner = this.#layerNorm(tape, x, block.ln2);
    const active = tape.linear(inner, { ...block.cFc, activation: this.config.activation }); // (B, T, 4C)
    return tape.linear(active, { ...block.mlpProj, residual: x, dropout: dropoutAt(3 * layer + 3) });
  }

  #logits(tape: Tape, hidden: Variable): Variable {
    return tape.linear(hidden, this.#head); // (N, V)
  }

  #layerNorm(tape: Tape, x: Variable, norm: Affine, outShape = x.shape): Variable {
    return tape.layerNorm(x, norm, layerNormEps, outShape);
  }

  /** Sites: 0 the embeddings; then for each layer the attention weights, the attention's projection, the MLP's. */
  #dropoutAt(source: DropoutSource | undefined): DropoutAt {
    const rate = this.config.dropout;
    if (source === undefined || rate === 0) return noDropout;
    return (site) => ({ rate, ...source, site });
  }
}
