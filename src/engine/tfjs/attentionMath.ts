/**
 * Multi-head attention in TensorFlow.js operations. The weights [B·NH, Tq, Tk] are materialised, forward and backward: this engine is read
 * and compared with, not raced.
 *
 * B batch, Tq queries, Tk keys, NH heads, NKV heads of keys and values, HS head size, C = NH·HS.
 */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { matMul, type Ops } from './math.ts';

export interface AttentionDims {
  readonly batchSize: number;
  readonly queries: number;
  readonly keys: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headSize: number;
  /** [B, Tq]: the first key that each query sees; null: they see all from the first on. */
  readonly starts: Int32Array | null;
  /** [B, Tq]: the end of the keys that each query sees; null: that of its own position. */
  readonly ends: Int32Array | null;
}

/** Queries, keys and values in one tensor or in two. */
export type Operands =
  | { readonly qkv: TfTensor }
  | { readonly qkv?: undefined; readonly q: TfTensor; readonly kv: TfTensor };

/** Low enough that its exponential is 0, and finite: not every GPU has infinities. */
const MASKED_SCORE = -1e30;

/** Query, key and value, each [B·NH, T, HS]: every head of the queries gets a copy of its keys and values. */
function splitHeads(ops: Ops, operands: Operands, dims: AttentionDims) {
  const { tf } = ops;
  const { batchSize, queries, keys, nHead, nKvHead, headSize } = dims;
  const [c, kvWidth] = [nHead * headSize, nKvHead * headSize];
  const [qPart, kPart, vPart] =
    operands.qkv === undefined
      ? [operands.q, ...tf.split(tf.reshape(operands.kv, [batchSize * keys, 2 * kvWidth]), 2, 1)]
      : tf.split(tf.reshape(operands.qkv, [batchSize * queries, c + 2 * kvWidth]), [c, kvWidth, kvWidth], 1);
  const headsOf = (part: TfTensor, time: number, heads: number) => {
    const apart = tf.transpose(tf.reshape(part, [batchSize, time, heads, headSize]), [0, 2, 1, 3]);
    return repeatHeads(ops, tf.reshape(apart, [batchSize * heads, time, headSize]), nHead / heads);
  };
  return { q: headsOf(qPart!, queries, nHead), k: headsOf(kPart!, keys, nKvHead), v: headsOf(vPart!, keys, nKvHead) };
}

/** [heads, T, HS] → [heads·times, T, HS], the copies of a head one after another. */
function repeatHeads({ tf }: Ops, heads: TfTensor, times: number): TfTensor {
  if (times === 1) return heads;
  const [count, time, headSize] = heads.shape as [number, number, number];
  const copies = tf.tile(tf.reshape(heads, [count, 1, time, headSize]), [1, times, 1, 1]);
  return tf.reshape(copies, [count * times, time, headSize]);
}

/** [B·NH, T, HS] → [B·T, heads·HS], where the heads that shared one are added up. */
function mergeHeads(
  { tf }: Ops,
  all: TfTensor,
  { batchSize, nHead }: Pick<AttentionDims, 'batchSize' | 'nHead'>,
  heads = nHead,
): TfTensor {
  const [, time, headSize] = all.shape as [number, number, number];
  const shared = tf.reshape(all, [batchSize * heads, nHead / heads, time, headSize]);
  const sums = heads === nHead ? all : tf.sum(shared, 1);
  const merged = tf.transpose(tf.reshape(sums, [batchSize, heads, time, headSize]), [0, 2, 1, 3]);
  return tf.reshape(merged, [batchSize * time, heads * headSize]);
}

/** Scores of the queries with every key, those that a query does not see masked: [B·NH, Tq, Tk]. Without ends, they are the last positions. */
function maskedScores(
  ops: Ops,
  q: TfTensor,
  k: TfTensor,
  { starts, ends }: Pick<AttentionDims, 'starts' | 'ends'>,
): TfTensor {
  const { tf } = ops;
  const [heads, queries, headSize] = q.shape as [number, number, number];
  const keys = k.shape[1]!;
  const samples = (starts ?? ends)?.length ?? queries;
  const mask = new Float32Array(samples * keys);
  for (let row = 0; row < samples; row++) {
    mask.fill(MASKED_SCORE, row * keys, row * keys + (starts?.[row] ?? 0));
    mask.fill(MASKED_SCORE, row * keys + (ends?.[row] ?? keys - queries + (row % queries) + 1), (row + 1) * keys);
  }
  const scores = tf.mul(matMul(ops, q, k, false, true), 1 / Math.sqrt(headSize));
  const bySample = tf.reshape(scores, [samples / queries, (heads * queries) / samples, queries, keys]);
  const masked = tf.add(bySample, tf.tensor4d(mask, [samples / queries, 1, queries, keys]));
  return tf.reshape(masked, [heads, queries, keys]);
}

/** Over the last dimension: the weights, and the log of what they were divided by, with what its rounding left out. */
function softmax({ tf }: Ops, scores: TfTensor) {
  const max = tf.max(scores, 2, true);
  const exponentials = tf.exp(tf.sub(scores, max));
  const sums = tf.sum(exponentials, 2, true);
  const logs = tf.log(sums);
  const lse = tf.add(max, logs);
  return { weights: tf.div(exponentials, sums), lse: tf.stack([lse, tf.add(tf.sub(max, lse), logs)]) };
}

/** `dropout`: what each attention weight is multiplied by, [B·NH, Tq, Tk]. out [B·Tq, C], lse [2, B·NH, Tq, 1]. */
export function attention(ops: Ops, operands: Operands, dims: AttentionDims, dropout?: TfTensor) {
  const { q, k, v } = splitHeads(ops, operands, dims);
  const { weights, lse } = softmax(ops, maskedScores(ops, q, k, dims));
  const kept = dropout === undefined ? weights : ops.tf.mul(weights, dropout);
  return { out: mergeHeads(ops, matMul(ops, kept, v), dims), lse };
}

/** dqkv [B·T, (NH + 2 NKV)·HS], or dq [B·Tq, C] and dkv [B·Tk, 2 NKV·HS], from dout [B·Tq, C] and the forward pass's lse [2, B·NH, Tq, 1]. */
export function attentionGradient(
  ops: Ops,
  operands: Operands,
  { dout, lse, dropout }: { dout: TfTensor; lse: TfTensor; dropout?: TfTensor | undefined },
  dims: AttentionDims,
): TfTensor[] {
  const { tf } = ops;
  const { batchSize, queries, nHead, nKvHead, headSize } = dims;
  const { q, k, v } = splitHeads(ops, operands, dims);
  const [log, rest] = tf.unstack(lse) as [TfTensor, TfTensor];
  const weights = tf.exp(tf.sub(tf.sub(maskedScores(ops, q, k, dims), log), rest));
  const kept = dropout === undefined ? weights : tf.mul(weights, dropout);
  const doutHeads = tf.reshape(tf.transpose(tf.reshape(dout, [batchSize, queries, nHead, headSize]), [0, 2, 1, 3]), [
    batchSize * nHead,
    queries,
    headSize,
  ]);
  const dkept = matMul(ops, doutHeads, v, false, true);
  const dweights = dropout === undefined ? dkept : tf.mul(dkept, dropout);
  const dscores = tf.mul(
    tf.mul(weights, tf.sub(dweights, tf.sum(tf.mul(weights, dweights), 2, true))),
    1 / Math.sqrt(headSize),
  );
  const dq = mergeHeads(ops, matMul(ops, dscores, k), dims);
  const dk = mergeHeads(ops, matMul(ops, dscores, q, true), dims, nKvHead);
  const dv = mergeHeads(ops, matMul(ops, kept, doutHeads, true), dims, nKvHead);
  return operands.qkv === undefined ? [dq, tf.concat([dk, dv], 1)] : [tf.concat([dq, dk, dv], 1)];
}

/**
 * T tokens of one sequence: q [T, C] over keys and values [positions, NKV·HS], of which the last are their own, unless they see all
 * positions. out [T, C].
 */
export function attendToCache(
  ops: Ops,
  { q, keys, values }: Record<'q' | 'keys' | 'values', TfTensor>,
  { nHead, headSize, seesAll }: { readonly nHead: number; readonly headSize: number; readonly seesAll: boolean },
): TfTensor {
  const headsOf = (rows: TfTensor) => {
    const heads = rows.shape[1]! / headSize;
    const apart = ops.tf.transpose(ops.tf.reshape(rows, [rows.shape[0]!, heads, headSize]), [1, 0, 2]);
    return repeatHeads(ops, apart, nHead / heads);
  };
  const ends = seesAll ? new Int32Array(q.shape[0]!).fill(keys.shape[0]!) : null;
  const { weights } = softmax(ops, maskedScores(ops, headsOf(q), headsOf(keys), { starts: null, ends }));
  return mergeHeads(ops, matMul(ops, weights, headsOf(values)), { batchSize: 1, nHead });
}
