/** The options of the attention kernels (kernels.ts, with the dimensions and the contract), and what every engine makes of them. */
import { InvariantError, invariant } from '../base/errors.ts';
import type { Dropout } from './dropout.ts';
import type { Tensor } from './tensor.ts';

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

/** The shape of an attention: `c` channels of queries and results, `kvWidth` of keys and of values. */
export interface AttentionShape {
  readonly b: number;
  /** Tq: queries of a sample. */
  readonly tq: number;
  /** Tk: keys of a sample. */
  readonly tk: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headSize: number;
  readonly c: number;
  readonly kvWidth: number;
}

type Operands = AttentionHeads & (FusedOperands | SeparateOperands);

/** The shape that the operands have. @throws InvariantError for operands that do not fit each other */
export function attentionShape(options: Operands): AttentionShape {
  const { nHead, nKvHead = nHead } = options;
  if (nHead % nKvHead !== 0) throw new InvariantError(`nKvHead = ${nKvHead} does not divide nHead = ${nHead}`);
  const { qkv } = options;
  const q = qkv ?? options.q;
  const kv = qkv ?? options.kv;
  const heads = qkv === undefined ? nHead : nHead + 2 * nKvHead;
  const [b, tq, width] = q.shape;
  const headSize = (width ?? 0) / heads;
  const [samples, tk, kvWidth] = kv.shape;
  const fits = qkv !== undefined || (kv.shape.length === 3 && samples === b && kvWidth === 2 * nKvHead * headSize);
  if (
    q.shape.length !== 3 ||
    b === undefined ||
    tq === undefined ||
    tk === undefined ||
    !Number.isInteger(headSize) ||
    !fits
  ) {
    const what =
      qkv === undefined
        ? `q is [${q.shape}] and kv [${kv.shape}]; expected [B, Tq, NH·HS] and [B, Tk, 2 NKV·HS]`
        : `qkv is [${qkv.shape}]; expected [B, T, (NH + 2 NKV)·HS]`;
    throw new InvariantError(`${what} with nHead = ${nHead} and nKvHead = ${nKvHead}`);
  }
  return { b, tq, tk, nHead, nKvHead, headSize, c: nHead * headSize, kvWidth: nKvHead * headSize };
}

/** The same for attention to caches, whose keys `q` does not count. */
export function decodeShape(options: AttentionHeads & (FusedOperands | CachedOperands)): AttentionShape {
  if (options.qkv !== undefined) return attentionShape(options);
  const { q, nHead, nKvHead = nHead } = options;
  const [b, tq, width] = q.shape;
  const headSize = (width ?? 0) / nHead;
  if (q.shape.length !== 3 || b === undefined || tq === undefined || !Number.isInteger(headSize) || nHead % nKvHead) {
    const heads = `nHead = ${nHead} and nKvHead = ${nKvHead}`;
    throw new InvariantError(`q is [${q.shape}]; expected [B, T, NH·HS] with ${heads}`);
  }
  return { b, tq, tk: 0, nHead, nKvHead, headSize, c: nHead * headSize, kvWidth: nKvHead * headSize };
}

/** The tensors that queries, and that keys and values are in, and the elements at which rows begin and that they are apart. */
export interface OperandRows<T> {
  readonly q: T;
  readonly kv: T;
  readonly queryStride: number;
  readonly keyStride: number;
  /** Element of a row of `kv` where the keys begin. */
  readonly keyFrom: number;
  readonly valueFrom: number;
}

/** Where the operands or their gradients are. */
export function operandRows<T>(
  { qkv, q, kv }: { readonly qkv?: T | undefined; readonly q?: T | undefined; readonly kv?: T | undefined },
  { c, kvWidth }: AttentionShape,
): OperandRows<T> {
  if (qkv !== undefined) {
    const width = c + 2 * kvWidth;
    return { q: qkv, kv: qkv, queryStride: width, keyStride: width, keyFrom: c, valueFrom: c + kvWidth };
  }
  if (q === undefined || kv === undefined) throw new InvariantError('attention: expected q and kv, or qkv');
  return { q, kv, queryStride: c, keyStride: 2 * kvWidth, keyFrom: 0, valueFrom: kvWidth };
}

/** The gradients of operands, which are in tensors like theirs. @throws InvariantError for others */
export function gradientRows(
  options: Operands & (FusedGradient | SeparateGradients),
  shape: AttentionShape,
): OperandRows<Tensor> {
  const { dqkv, dq, dkv } = options;
  const rows = operandRows({ qkv: dqkv, q: dq, kv: dkv }, shape);
  const operands = operandRows<Tensor>(options, shape);
  for (const [name, gradient, operand] of [
    ['q', rows.q, operands.q],
    ['kv', rows.kv, operands.kv],
  ] as const) {
    invariant(
      gradient.size === operand.size,
      `attentionBackward: expected a gradient of ${name} [${operand.shape}], received [${gradient.shape}]`,
    );
  }
  return rows;
}

/** What `attentionDecode` gets: a cache for each of B sequences. */
export function expectSequences(sequences: readonly CachedKeys[], batchSize: number): void {
  invariant(
    sequences.length === batchSize,
    `attentionDecode: expected the caches of ${batchSize} sequences, received ${sequences.length}`,
  );
}

/** The next `t` tokens of a sequence fit its cache; with t = 0, for queries that only read it, it has a row. */
export function expectCache({ keys, values, position }: CachedKeys, t: number, kvWidth: number): void {
  const rows = keys.size / kvWidth;
  invariant(values.size === keys.size, `attentionDecode: keys are [${keys.shape}], but values [${values.shape}]`);
  invariant(position + t >= 1, 'attentionDecode: a cache without rows has nothing to attend to');
  invariant(position + t <= rows, `attentionDecode: position ${position + t - 1} is past the cache's ${rows} rows`);
}
