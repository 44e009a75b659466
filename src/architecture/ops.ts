/**
 * The operations that a forward pass is written in. Types only: `model/pass.ts` computes them on an engine's tape, and knows what a
 * model need not: dropout's random streams, the cache of keys and values when generating, and which activations are kept.
 *
 * `V` is a value of the pass, whatever it is there. Dimension letters: B batch, T time, C channels, V vocabulary, NH heads, IC / OC
 * input and output channels.
 */
import type { ActivationKind } from '../base/activations.ts';
import type { ParameterSpec } from './parameters.ts';

/** A weight and a bias, of a layer norm or a linear layer. */
export interface Affine {
  /** Of a layer norm [C], of a linear layer [IC, OC]. */
  readonly weight: ParameterSpec;
  /** As wide as the result; undefined in models without. */
  readonly bias?: ParameterSpec | undefined;
}

/** A linear layer. */
export interface Linear extends Affine {
  /** The weight is [OC, IC], as a head that is the token embedding. */
  readonly weightTransposed?: boolean;
}

/** What follows a linear layer in the same pass over memory: an activation, or a residual. */
export interface AfterLinear<V> {
  readonly activation?: ActivationKind;
  /** Is added to the result, after `dropout` of that. */
  readonly residual?: V;
  /** Probability of dropping an element of what is added to `residual`. */
  readonly dropout?: number;
}

/** A piece of a model: a function of values that knows its parameters. */
export type Module = <V>(ops: Ops<V>, x: V) => V;

/**
 * One pass. Each operation with a `dropout` is a place that has masks of its own: places are counted in the order in which forward
 * reaches them, so a model that reaches them in another order drops other elements.
 */
export interface Ops<V> {
  /** [B, T, C] = tokenTable[token] + positionTable[position]; positions count from the start of the context. */
  embedding(tokens: Tokens, tokenTable: ParameterSpec, positionTable?: ParameterSpec): V;
  /** Normalises the last dimension. */
  layerNorm(x: V, norm: Affine, eps: number): V;
  /** [..., OC] = x [..., IC] @ weight + bias, and what follows. */
  linear(x: V, layer: Linear, after?: AfterLinear<V>): V;
  /** Causal multi-head attention of qkv [B, T, 3C] with scale 1/sqrt(C/NH), dropout on its weights: [B, T, C]. */
  attention(qkv: V, options: { readonly nHead: number; readonly dropout?: number }): V;
  /** Drops elements of x with this probability. */
  dropout(x: V, rate: number): V;
  /** `module` of x, whose activations need not be kept for backward: it may run again then. */
  block(x: V, module: Module): V;
}

/** What goes into a model, [B, T] int32. It is handed on to `embedding`. */
export interface Tokens {
  readonly shape: readonly number[];
}
