/**
 * The kernels that a GPT needs, forward and backward side by side. They know nothing of models, tapes or workers. Options with more to say
 * than a line are declared by family, beside what every engine makes of them: attentionOptions.ts, linearOptions.ts and their neighbours.
 *
 * Dimension letters: B batch, T time (Tq queries, Tk keys), C channels (nEmbd), NH heads, NKV heads of keys and values, HS head size, V vocabulary,
 * N rows (B·T), IC / OC input and output channels.
 *
 * Contract of every kernel:
 * - All tensors are float32, row-major and contiguous unless said otherwise; shapes are checked, a wrong one is an InvariantError.
 * - A tensor "or bfloat16" may be of either type, whatever the others are: numbers are rounded to nearest even as they are written,
 *   and computed with in float32. The native engine alone has bfloat16.
 * - Gradients of *parameters* (`dweight`, `dbias`, `dwte`, `dwpe`) are accumulated (`+=`).
 * - Gradients of *activations* (`dinp`, `dqkv`, `dq`, `dkv`) are assigned (`=`), or accumulated where the options say `accumulate: true`. A
 *   bfloat16 one is accumulated in float32 and rounded, at each kernel that adds to it.
 * - A gradient that is absent from the options is not computed, and costs nothing; at least one must be there.
 * - Kernels enqueue: the order of calls is that of their effects, and results are read through the device (`Device`).
 */
import type { ActivationKind } from '../base/activations.ts';
import type {
  AttentionHeads,
  AttentionOptions,
  CachedKeys,
  CachedOperands,
  FusedGradient,
  FusedOperands,
  SeparateGradients,
} from './attentionOptions.ts';
import type { Documents } from './documents.ts';
import type { Dropout } from './dropout.ts';
import type { LinearBackwardOptions, LinearCrossEntropyOptions, LinearForwardOptions } from './linearOptions.ts';
import type { AdamwOptions, WeightedSumOptions } from './optimizerOptions.ts';
import type { RopeOptions } from './ropeOptions.ts';
import type { Tensor, TensorGroup } from './tensor.ts';

/** What a GPT needs, forward and backward. */
export interface Kernels {
  /** Fills with 0. */
  zero(tensor: Tensor): void;
  /** Fills with 0, padding included. */
  zeroGroup(group: TensorGroup): void;
  /** out = a + b, element by element, all float32 or all bfloat16; `out` may be `a` or `b`. */
  add(options: { out: Tensor; a: Tensor; b: Tensor }): void;
  /** out = inp, both float32 or both bfloat16. `out` may be larger: its elements from inp.size on stay as they are. */
  copy(options: { out: Tensor; inp: Tensor }): void;
  /**
   * out = inp with dropout; either may be bfloat16. Its own backward: apply it to the gradient with the same options. `out` may be
   * `inp`.
   */
  dropout(options: { out: Tensor; inp: Tensor; dropout: Dropout }): void;

  /**
   * out [B, T, C] = scale · wte[token] (+ wpe[position]), where the scale is 1 by default; tokens [B, T] int32; wte [V, C] (leading dimensions are flattened); wpe
   * [≥ positionOffset + T, C]. Positions count from positionOffset at the start of the token's document.
   */
  embeddingForward(
    options: Documents & {
      out: Tensor;
      tokens: Tensor;
      wte: Tensor;
      wpe?: Tensor;
      positionOffset?: number;
      scale?: number;
    },
  ): void;
  /** Accumulates dwte and dwpe from dout [B, T, C]. Deterministic: rows are summed in token order. */
  embeddingBackward(
    options: Documents & { dout: Tensor; tokens: Tensor; dwte?: Tensor; dwpe?: Tensor; scale?: number },
  ): void;

  /** out [N, C] = (inp - mean) · rstd · weight + bias over the last dimension; saves mean [N] and rstd [N]. `out` and `dout` may be bfloat16. */
  layerNormForward(options: {
    out: Tensor;
    mean: Tensor;
    rstd: Tensor;
    inp: Tensor;
    weight: Tensor;
    bias?: Tensor;
    eps: number;
  }): void;
  /** Gradients of `layerNormForward`, from what it saved: `dinp`, and added to `dweight` and `dbias`. */
  layerNormBackward(options: {
    dinp?: Tensor;
    accumulate?: boolean;
    dweight?: Tensor;
    dbias?: Tensor;
    dout: Tensor;
    inp: Tensor;
    weight: Tensor;
    mean: Tensor;
    rstd: Tensor;
  }): void;

  /**
   * out [N, C] = inp · rstd · weight with rstd = 1/sqrt(mean(inp²) + eps) over the last dimension (Zhang and Sennrich, 2019); saves rstd
   * [N]. `out` and `dout` may be bfloat16.
   */
  rmsNormForward(options: { out: Tensor; rstd: Tensor; inp: Tensor; weight: Tensor; eps: number }): void;
  /** Gradients of `rmsNormForward`, from what it saved: `dinp`, and added to `dweight`. */
  rmsNormBackward(options: {
    dinp?: Tensor;
    accumulate?: boolean;
    dweight?: Tensor;
    dout: Tensor;
    inp: Tensor;
    weight: Tensor;
    rstd: Tensor;
  }): void;

  /** Rotates queries and keys by their positions. A row's bits depend only on that row and its position. */
  rope(options: RopeOptions): void;

  /** One linear layer, with the bias, activation, dropout and residual add that follow it. */
  linearForward(options: LinearForwardOptions): void;
  /** Gradients of `linearForward`. */
  linearBackward(options: LinearBackwardOptions): void;

  /** For tests and benchmarks: models have it in `linearForward`. Both may be bfloat16. */
  activationForward(options: { kind: ActivationKind; out: Tensor; inp: Tensor }): void;
  /** `dinp` may be `dout`. All three may be bfloat16. */
  activationBackward(options: { kind: ActivationKind; dinp: Tensor; dout: Tensor; inp: Tensor }): void;

  /**
   * out [N, I] = act(gate) · up, where each row of inp [N, 2I] is gate|up, as in SwiGLU (Shazeer, 2020). Both of one type, which may be
   * bfloat16.
   */
  gatedActivationForward(options: { kind: ActivationKind; out: Tensor; inp: Tensor }): void;
  /** dinp [N, 2I] is assigned, from dout [N, I]; it may be `inp`. All three of one type, which may be bfloat16. */
  gatedActivationBackward(options: { kind: ActivationKind; dinp: Tensor; dout: Tensor; inp: Tensor }): void;

  /** out [B, Tq, NH·HS]. */
  attentionForward(options: AttentionOptions & { out: Tensor }): void;
  /** The gradients of the operands are assigned. */
  attentionBackward(
    options: AttentionOptions & (FusedGradient | SeparateGradients) & { dout: Tensor; out: Tensor },
  ): void;
  /**
   * The next T tokens of each of B sequences: writes the keys and values of `qkv` (see `FusedOperands`) to the rows from `position` on of
   * the sequence's keys and values, and each token attends over the rows up to its own. With `q` nothing is written, and each token attends over
   * the first `position` rows: those of a source, which sequences may share. out [B, T, NH·HS]. The bits of a sequence do not depend on the others.
   */
  attentionDecode(
    options: AttentionHeads & (FusedOperands | CachedOperands) & { out: Tensor; sequences: readonly CachedKeys[] },
  ): void;

  /**
   * Fused softmax and cross-entropy. losses [N] = -log softmax(logits [N, V])[target]; targets [N] int32. A target of -1 is
   * ignored: its loss and gradient are 0. With `dlogits` (may be `logits`): dlogits = (softmax - onehot) · scale · weights [N],
   * assigned, without `weights` 1; the losses are not weighted.
   * For tests and benchmarks: models have it in `linearCrossEntropy`.
   */
  crossEntropy(options: {
    losses: Tensor;
    logits: Tensor;
    targets: Tensor;
    dlogits?: Tensor;
    scale?: number;
    weights?: Tensor;
  }): void;

  /** The head and its loss in one: logits exist for some rows at a time (linearOptions.ts), never all [N, V]. */
  linearCrossEntropy(options: LinearCrossEntropyOptions): void;

  /** The sum of squares of the entire group, accumulated in more than float32's precision if the device can. */
  squaredNorm(group: TensorGroup): Promise<number>;
  /** One AdamW update of `params`, `m` and `v`. */
  adamw(options: AdamwOptions): void;
  /** out = scaleA · a + scaleB · b. */
  weightedSum(options: WeightedSumOptions): void;
  /** Divides by the Frobenius norm, or by `eps` if that is larger. */
  normalise(options: { tensor: Tensor; eps: number }): void;
}

/** The options of one kernel of the interface, for the backends. */
export type KernelOptions<K extends keyof Kernels> = Kernels[K] extends (options: infer O) => unknown ? O : never;
