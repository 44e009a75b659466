/**
 * The operations of a forward pass. Types only: `model/pass.ts` computes them on an engine's tape, and manages what a
 * model need not know: dropout's random streams, the cache of keys and values during generation, and the activations to keep.
 *
 * `V` is the type of values in the pass. Dimension letters: B batch, T time, C channels, V vocabulary, NH heads, NKV heads of keys
 * and values, HS head size, IC / OC input and output channels.
 */
import type { ActivationKind } from '../base/activations.ts';
import type { ParameterSpec } from './parameters.ts';

/** The weight and bias of a layer norm or linear layer. */
export interface Affine {
  /** [C] for a layer norm, [IC, OC] for a linear layer. */
  readonly weight: ParameterSpec;
  /** As wide as the result; undefined in models without biases. */
  readonly bias?: ParameterSpec | undefined;
}

/** A linear layer. */
export interface Linear extends Affine {
  /** The weight is [OC, IC], as in a head that is the token embedding. */
  readonly weightTransposed?: boolean;
}

/** The heads of an attention, and its dropout. */
export interface Attention {
  /** NH. */
  readonly nHead: number;
  /** NKV, by default NH, which it divides: NH / NKV heads of queries, one after another, share a head of keys and values. */
  readonly nKvHead?: number;
  /** Probability of dropping an attention weight. */
  readonly dropout?: number;
  /** Whether a token also attends to later ones: to all of a source. Default false, which is causal. */
  readonly bidirectional?: boolean;
}

/** Operations after a linear layer in the same pass over memory: an activation or a residual. */
export interface AfterLinear<V> {
  readonly activation?: ActivationKind;
  /** Added to the result after its `dropout`. */
  readonly residual?: V;
  /** Probability of dropping an element of the result before `residual` is added. */
  readonly dropout?: number;
}

/** Rotary position embedding. */
export interface Rope {
  /** How many heads are rotated, from the first: the queries and keys of qkv. What follows them is not changed. */
  readonly heads: number;
  /** HS, which is even. */
  readonly headSize: number;
  /** The base of the angles: number i of the first half of a head turns by position · theta^(-2i/HS). */
  readonly theta: number;
  /** Stretches the wavelengths (`model.ropeScaling`). Default [], without. */
  readonly scaling?: readonly number[];
  /** The number of positions that the model has: blockSize. */
  readonly positions: number;
}

/**
 * A part of a model: a function of values that owns its parameters. `memory` is the encoder's result, for parts of a decoder that attend to
 * a source.
 */
export type Module = <V>(ops: Ops<V>, x: V, memory?: V) => V;

/**
 * One pass. Each operation with a `dropout` is a site with its own masks. Sites are numbered in the order in which forward
 * reaches them, so a model that reaches them in another order drops other elements.
 */
export interface Ops<V> {
  /** [B, T, C] = scale · tokenTable[token] + positionTable[position]; positions count from the start of the context. The scale is 1 by default. */
  embedding(tokens: Tokens, tokenTable: ParameterSpec, positionTable?: ParameterSpec, scale?: number): V;
  /** Normalises the last dimension. */
  layerNorm(x: V, norm: Affine, eps: number): V;
  /** Divides by the root mean square of the last dimension, and multiplies by the weight. */
  rmsNorm(x: V, norm: Pick<Affine, 'weight'>, eps: number): V;
  /** [..., OC] = x [..., IC] @ weight + bias, and what follows. */
  linear(x: V, layer: Linear, after?: AfterLinear<V>): V;
  /**
   * Multi-head attention of qkv [B, T, (NH + 2 NKV)·HS], which is q|k|v, with scale 1/sqrt(HS), dropout on its weights: [B, T, NH·HS].
   * Causal, or with `bidirectional` to the tokens of a source, without its padding.
   */
  attention(qkv: V, options: Attention): V;
  /**
   * Attention of q [B, T, NH·HS] to a source, without its padding: [B, T, NH·HS]. Its keys and values k|v [B, S, 2 NKV·HS] are the product of
   * the layer with `memory` [B, S, C], the encoder's result. Generation computes them once, and leaves out `memory` afterwards.
   */
  sourceAttention(q: V, memory: V | undefined, keyValues: Linear, options: Attention): V;
  /**
   * Rotates heads of qkv [B, T, W] by their positions, which count from the start of the context, or of the document. It may overwrite
   * `qkv`: no other operation may read that.
   */
  rope(qkv: V, options: Rope): V;
  /** [..., I] = act(gate) · up, where x [..., 2I] is gate|up. */
  gated(x: V, kind: ActivationKind): V;
  /** Drops elements of x with this probability. */
  dropout(x: V, rate: number): V;
  /** Applies `module` to x and the encoder's result, if it needs that. Its activations need not be kept: backward may run it again. */
  block(x: V, module: Module, memory?: V): V;
}

/** The input of a model, [B, T] int32, which it passes to `embedding`. */
export interface Tokens {
  readonly shape: readonly number[];
}
