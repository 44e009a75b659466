/**
 * Causal multi-head attention in TensorFlow.js operations. The weights [B·NH, T, T] are materialised, forward and backward: this
 * engine is read and compared with, not raced.
 *
 * B batch, T time, NH heads, NKV heads of keys and values, HS head size, C = NH·HS.
 */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { matMul, type Ops } from './math.ts';

export interface AttentionDims {
  readonly batchSize: number;
  readonly time: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headSize: number;
  /** [B, T]: the first key that each query sees; null: they see all from the first on. */
  readonly starts: Int32Array | null;
}

/** Low enough that its exponential is 0, and finite: not every GPU has infinities. */
const MASKED_SCORE = -1e30;

/** [B, T, (NH + 2 NKV)·HS] → query, key, value, each [B·NH, T, HS]: every head of the queries gets a copy of its keys and values. */
function splitHeads(ops: Ops, qkv: TfTensor, { batchSize, time, nHead, nKvHead, headSize }: AttentionDims) {
  const { tf } = ops;
  const rows = tf.reshape(qkv, [batchSize * time, (nHead + 2 * nKvHead) * headSize]);
  const parts = tf.split(rows, [nHead * headSize, nKvHead * headSize, nKvHead * headSize], 1);
  const [q, k, v] = parts.map((part) => {
    const heads = part.shape[1]! / headSize;
    const apart = tf.transpose(tf.reshape(part, [batchSize, time, heads, headSize]), [0, 2, 1, 3]);
    return repeatHeads(ops, tf.reshape(apart, [batchSize * heads, time, headSize]), nHead / heads);
  });
  return { q: q!, k: k!, v: v! };
}

/** [heads, T, HS] → [heads·times, T, HS], the copies of a head one after another. */
function repeatHeads({ tf }: Ops, heads: TfTensor, times: number): TfTensor {
  if (times === 1) return heads;
  const [count, time, headSize] = heads.shape as [number, number, number];
  const copies = tf.tile(tf.reshape(heads, [count, 1, time, headSize]), [1, times, 1, 1]);
  return tf.reshape(copies, [count * times, time, headSize]);
}

/** [B·NH, T, HS] → [B·T, heads·HS], where the heads that shared one are added up. */
function mergeHeads({ tf }: Ops, all: TfTensor, { batchSize, nHead }: AttentionDims, heads = nHead): TfTensor {
  const [, time, headSize] = all.shape as [number, number, number];
  const shared = tf.reshape(all, [batchSize * heads, nHead / heads, time, headSize]);
  const sums = heads === nHead ? all : tf.sum(shared, 1);
  const merged = tf.transpose(tf.reshape(sums, [batchSize, heads, time, headSize]), [0, 2, 1, 3]);
  return tf.reshape(merged, [batchSize * time, heads * headSize]);
}

/** Scores of the last queries with every key, those in a query's future or in another document masked: [B·NH, queries, keys]. */
function causalScores(ops: Ops, q: TfTensor, k: TfTensor, starts: Int32Array | null): TfTensor {
  const { tf } = ops;
  const [heads, queries, headSize] = q.shape as [number, number, number];
  const keys = k.shape[1]!;
  const samples = starts === null ? 1 : starts.length / queries;
  const mask = new Float32Array(samples * queries * keys);
  for (let row = 0; row < samples * queries; row++) {
    mask.fill(MASKED_SCORE, row * keys, row * keys + (starts?.[row] ?? 0));
    mask.fill(MASKED_SCORE, row * keys + keys - queries + (row % queries) + 1, (row + 1) * keys);
  }
  const scores = tf.mul(matMul(ops, q, k, false, true), 1 / Math.sqrt(headSize));
  const bySample = tf.reshape(scores, [samples, heads / samples, queries, keys]);
  return tf.reshape(tf.add(bySample, tf.tensor4d(mask, [samples, 1, queries, keys])), [heads, queries, keys]);
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

/** `dropout`: what each attention weight is multiplied by, [B·NH, T, T]. out [B·T, C], lse [2, B·NH, T, 1]. */
export function attention(ops: Ops, qkv: TfTensor, dims: AttentionDims, dropout?: TfTensor) {
  const { q, k, v } = splitHeads(ops, qkv, dims);
  const { weights, lse } = softmax(ops, causalScores(ops, q, k, dims.starts));
  const kept = dropout === undefined ? weights : ops.tf.mul(weights, dropout);
  return { out: mergeHeads(ops, matMul(ops, kept, v), dims), lse };
}

/** dqkv [B·T, (NH + 2 NKV)·HS] from dout [B·T, C] and the forward pass's lse [2, B·NH, T, 1]. */
export function attentionGradient(
  ops: Ops,
  { qkv, dout, lse, dropout }: { qkv: TfTensor; dout: TfTensor; lse: TfTensor; dropout?: TfTensor | undefined },
  dims: AttentionDims,
): TfTensor {
  const { tf } = ops;
  const { batchSize, time, nHead, nKvHead, headSize } = dims;
  const { q, k, v } = splitHeads(ops, qkv, dims);
  const [log, rest] = tf.unstack(lse) as [TfTensor, TfTensor];
  const weights = tf.exp(tf.sub(tf.sub(causalScores(ops, q, k, dims.starts), log), rest));
  const kept = dropout === undefined ? weights : tf.mul(weights, dropout);
  const doutHeads = tf.reshape(tf.transpose(tf.reshape(dout, [batchSize, time, nHead, headSize]), [0, 2, 1, 3]), [
    batchSize * nHead,
    time,
    headSize,
  ]);
  const dkept = matMul(ops, doutHeads, v, false, true);
  const dweights = dropout === undefined ? dkept : tf.mul(dkept, dropout);
  const dscores = tf.mul(
    tf.mul(weights, tf.sub(dweights, tf.sum(tf.mul(weights, dweights), 2, true))),
    1 / Math.sqrt(headSize),
  );
  const parts = [
    mergeHeads(ops, matMul(ops, dscores, k), dims),
    mergeHeads(ops, matMul(ops, dscores, q, true), dims, nKvHead),
    mergeHeads(ops, matMul(ops, kept, doutHeads, true), dims, nKvHead),
  ];
  return tf.concat(parts, 1);
}

/** The newest T tokens of one sequence: q [T, C] over keys and values [positions, NKV·HS], their own the last. out [T, C]. */
export function attendToCache(
  ops: Ops,
  { q, keys, values }: Record<'q' | 'keys' | 'values', TfTensor>,
  { nHead, headSize }: { readonly nHead: number; readonly headSize: number },
): TfTensor {
  const headsOf = (rows: TfTensor) => {
    const heads = rows.shape[1]! / headSize;
    const apart = ops.tf.transpose(ops.tf.reshape(rows, [rows.shape[0]!, heads, headSize]), [1, 0, 2]);
    return repeatHeads(ops, apart, nHead / heads);
  };
  const { weights } = softmax(ops, causalScores(ops, headsOf(q), headsOf(keys), null));
  const dims = { batchSize: 1, time: q.shape[0]!, nHead, nKvHead: nHead, headSize, starts: null };
  return mergeHeads(ops, matMul(ops, weights, headsOf(values)), dims);
}
