/**
 * The kernels that a GPT needs, forward and backward side by side, and their options. They know nothing of models, tapes or workers.
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
import type { Tensor, TensorGroup } from './tensor.ts';

/**
 * Dropout keeps an element with probability 1 - rate and scales it by 1/(1 - rate). The mask is recomputed, never stored. The
 * samples are the leading dimension of the tensor it is applied to: element i of sample b, counted from the sample's first element,
 * is kept iff randomUniform(key, i) >= rate where key = randomKey(seed, step, firstSample + b, site) (base/counterRandom.ts). So
 * the mask never depends on the worker or the microbatch that computes it.
 */
export interface Dropout {
  /** Probability of dropping an element. */
  readonly rate: number;
  /** The run's seed. */
  readonly seed: number;
  /** Which update of the training the pass is part of; 1 is a run's first. */
  readonly step: number;
  /** The index of sample 0 in the step's global batch; those after it follow one another. */
  readonly firstSample: number;
  /** Which place in the model; no two share one. */
  readonly site: number;
}

/** Where `inp` or `dout` is bfloat16, the product is one of bfloat16 numbers, summed in float32: the weight is rounded for it. */
export interface LinearOptions {
  /**
   * Both factors of each product are rounded to float16, and summed in float32. A number that is too large for float16 becomes infinite.
   * For engines with `hasFloat16` only. Absent: they are used as they are.
   */
  readonly operands?: 'float16';
  /** [N, IC] (leading dimensions are flattened); or bfloat16. */
  readonly inp: Tensor;
  /** [IC, OC], as GPT-2 stores it; with `weightTransposed` [OC, IC], as a tied head uses the token embedding. */
  readonly weight: Tensor;
  /** Whether it is (OC, IC). */
  readonly weightTransposed?: boolean;
}

/** The non-linearity after a linear layer. */
export interface ForwardActivation {
  /** Which one. */
  readonly kind: ActivationKind;
  /** (N, OC), or bfloat16: the layer's result before it, where the backward pass needs it. */
  readonly preActivation?: Tensor;
}

/** A linear layer and what follows it. */
export interface LinearForwardOptions extends LinearOptions {
  /** [N, OC]; or bfloat16. With y = inp @ weight + bias it is y, act(y) with `activation`, or residual + dropout(y) with `residual`. */
  readonly out: Tensor;
  /** [OC]. */
  readonly bias?: Tensor;
  /** Excludes `residual`. */
  readonly activation?: ForwardActivation;
  /** [N, OC]; or bfloat16; `out` may be `residual`. */
  readonly residual?: Tensor;
  /** Dropout of y, before it is added to `residual`, which is then required. */
  readonly dropout?: Dropout;
  /**
   * Each row of `out` has the bits that it has with N = 1, whatever the other rows are: for rows of sequences that are decoded
   * together. `inp` is float32 then. Absent: rounding may depend on N.
   */
  readonly rowsApart?: boolean;
}

/** Its gradients. */
export interface LinearBackwardOptions extends LinearOptions {
  /** [N, OC]; or bfloat16: the gradient of y = inp @ weight + bias. */
  readonly dout: Tensor;
  /** [N, IC]; or bfloat16. Assigned, or accumulated with `accumulate`. Absent: not computed. */
  readonly dinp?: Tensor;
  /** Adds to `dinp` instead of assigning it. */
  readonly accumulate?: boolean;
  /** Where inp = act(preActivation [N, IC]; or bfloat16): dinp is the gradient of `preActivation`. Excludes `accumulate`. */
  readonly dinpActivation?: Required<ForwardActivation>;
  /** The shape of `weight`, accumulated. */
  readonly dweight?: Tensor;
  /** [OC], accumulated. */
  readonly dbias?: Tensor;
}

/** The head of a model and its loss. */
export interface LinearCrossEntropyOptions extends LinearOptions {
  /** (N): of the logits inp @ weight [N, V], as `crossEntropy` gives them. */
  readonly losses: Tensor;
  /** [N] int32; -1: ignored. */
  readonly targets: Tensor;
  /** What the sum of the losses is multiplied by before it is derived: 1 if absent. */
  readonly scale?: number;
  /** [N], what each row's loss is multiplied by besides before it is derived; `losses` are not. Absent: 1. */
  readonly weights?: Tensor;
  /** [N, IC], assigned; or bfloat16. */
  readonly dinp?: Tensor;
  /** The shape of `weight`, accumulated. */
  readonly dweight?: Tensor;
}

/** The documents that share a sample of T positions: packed, one after another. */
export interface Documents {
  /**
   * [B, T] int32: the first position of the document that each position belongs to. In a sample it never decreases, and is never
   * greater than the position. Absent: a sample is one document.
   */
  readonly starts?: Tensor;
}

/** The heads of an attention. */
export interface AttentionHeads {
  /** NH: heads of queries, of results and of attention weights. */
  readonly nHead: number;
  /**
   * NKV: heads of keys and values, by default NH; it divides NH. Heads h·NH/NKV to (h + 1)·NH/NKV - 1 of the queries share head h of keys and
   * values (grouped-query attention: https://arxiv.org/abs/2305.13245).
   */
  readonly nKvHead?: number;
}

/** The keys that each query sees: from its start to before its end. */
export interface KeyRanges {
  /** [B, Tq] int32: the first key. Absent: key 0. Without `ends` as in `Documents`, else any. */
  readonly starts?: Tensor;
  /**
   * [B, Tq] int32: one past the last key; greater than the start and at most Tk. Absent: attention is causal, the last key is that of the
   * query's own position, and Tq = Tk.
   */
  readonly ends?: Tensor;
}

/**
 * Queries, keys and values of all heads in one tensor. It may be bfloat16: then so are `out`, `dout` and `dqkv`, and the products are of
 * bfloat16 numbers, weights and their gradients rounded, summed in float32.
 */
export interface FusedOperands {
  /** [B, T, (NH + 2 NKV)·HS], as GPT-2's c_attn gives them: q|k|v, NH·HS wide and twice NKV·HS. */
  readonly qkv: Tensor;
  /** Excluded by `qkv`. */
  readonly q?: undefined;
  /** Excluded by `qkv`. */
  readonly kv?: undefined;
}

/** Queries apart from keys and values, for attention to another sequence; or bfloat16, as `FusedOperands`. */
export interface SeparateOperands {
  /** Excluded by `q` and `kv`. */
  readonly qkv?: undefined;
  /** [B, Tq, NH·HS]. */
  readonly q: Tensor;
  /** (B, Tk, 2 NKV·HS): k|v. */
  readonly kv: Tensor;
}

/** The gradient of `FusedOperands`. */
export interface FusedGradient {
  /** The shape of `qkv`. */
  readonly dqkv: Tensor;
  /** Excluded by `dqkv`. */
  readonly dq?: undefined;
  /** Excluded by `dqkv`. */
  readonly dkv?: undefined;
}

/** The gradients of `SeparateOperands`. */
export interface SeparateGradients {
  /** Excluded by `dq` and `dkv`. */
  readonly dqkv?: undefined;
  /** The shape of `q`. */
  readonly dq: Tensor;
  /** The shape of `kv`. */
  readonly dkv: Tensor;
}

/** Multi-head attention with scale 1/sqrt(HS). */
export type AttentionOptions = AttentionHeads &
  KeyRanges &
  (FusedOperands | SeparateOperands) & {
    /**
     * (2, B, NH, Tq), saved for the backward pass: the log of the softmax denominator (with the maximum), and what its rounding left out.
     * Large scores need both: at 10^6 float32 rounds to 0.06.
     */
    readonly lse: Tensor;
    /** On the attention weights; element index inside a sample is (h·Tq + i)·Tk + j for query i, key j. */
    readonly dropout?: Dropout;
  };

/**
 * Rotary position embedding (Su et al., 2021, https://arxiv.org/abs/2104.09864), as in Hugging Face's Llama: in each head, number i
 * and number i + HS/2 are rotated together, by an angle proportional to the position.
 */
export interface RopeOptions extends Documents {
  /** [B, T, W], or bfloat16. The row of a token begins with the heads to rotate; the rest of it is copied. */
  readonly inp: Tensor;
  /** [B, T, W], of the type of `inp`; may be `inp`. */
  readonly out: Tensor;
  /** (positions, 2, HS/2): for each position the cosines of its angles, then the sines. */
  readonly table: Tensor;
  /** How many heads are rotated: the first `heads` · HS numbers of each row. */
  readonly heads: number;
  /** [B] int32: the position of the first token of each sequence. Absent: 0. With `starts`, what is added to the position in the document. */
  readonly positions?: Tensor;
  /** Rotates back, by the negative angles: the gradient of `inp`, from that of `out`. */
  readonly inverse?: boolean;
}

/** Only queries: the keys and values that they see are all in caches. */
export interface CachedOperands {
  /** Excluded by `q`. */
  readonly qkv?: undefined;
  /** [B, T, NH·HS]. */
  readonly q: Tensor;
  /** Excluded by `q`. */
  readonly kv?: undefined;
}

/** The keys and values of one sequence, and how far they go. */
export interface CachedKeys {
  /** [R, NKV·HS], R rows for the sequence's tokens so far and for those that follow; R changes no result. */
  readonly keys: Tensor;
  /** [R, NKV·HS] */
  readonly values: Tensor;
  /** Rows that are filled: the position of the sequence's next token, or the length of a source. */
  readonly position: number;
}

/** Averages of parameters: average = (1 - weight) · average + weight · param. */
export interface AverageOptions {
  /** Tensors of the shapes of the parameters. */
  readonly group: TensorGroup;
  /** The share of the updated parameters, 0 to 1. */
  readonly weight: number;
}

/** One update of AdamW (Loshchilov and Hutter, 2019), as PyTorch computes it. */
export interface AdamwOptions {
  /** The indices of the tensors of `params` that are updated, ascending. Absent: all. */
  readonly tensors?: readonly number[];
  /** Groups of the same shapes, and `average` too. */
  readonly params: TensorGroup;
  /** Read, and left 0 with `zeroGrads`. */
  readonly grads: TensorGroup;
  /** First moments. */
  readonly m: TensorGroup;
  /** Second moments, of the updated tensors only. */
  readonly v: TensorGroup;
  /** Weight decay of each tensor of `params`. Decoupled, like PyTorch's: param -= learningRate · weightDecay · param, before the update. */
  readonly weightDecay: readonly number[];
  /** Learning rate of this update. */
  readonly learningRate: number;
  /** Decay rate of the first moment. */
  readonly beta1: number;
  /** Decay rate of the second moment. */
  readonly beta2: number;
  /** Keeps the division finite. */
  readonly eps: number;
  /** 1 for the first update (for the bias correction). */
  readonly step: number;
  /** The gradients are multiplied by this first (clipping). */
  readonly gradScale: number;
  /** Leaves the gradients 0, for the next step. */
  readonly zeroGrads?: boolean;
  /** Averages that follow the updated parameters. Without it, there are none. */
  readonly average?: AverageOptions;
}

/** A matrix that is a part of another. */
export interface MatrixPart {
  /** [R, C]. */
  readonly tensor: Tensor;
  /** Its first row. Default 0. */
  readonly row?: number;
  /** Its first column. Default 0. */
  readonly column?: number;
}

/** A sum of two matrices of one shape, each times a number. */
export interface WeightedSumOptions {
  /** Number of rows of the matrices. */
  readonly rows: number;
  /** Number of columns of the matrices. */
  readonly columns: number;
  /** May be `a`, of the same tensor and place; otherwise it shares no tensor with `a` and `b`. */
  readonly out: MatrixPart;
  /** The first matrix. */
  readonly a: MatrixPart;
  /** The second matrix. */
  readonly b: MatrixPart;
  /** What `a` is multiplied by. */
  readonly scaleA: number;
  /** What `b` is multiplied by. */
  readonly scaleB: number;
}

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
