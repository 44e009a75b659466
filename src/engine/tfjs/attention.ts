/**
 * Causal multi-head attention in TensorFlow.js operations. The weights [B·NH, T, T] are materialised, forward and backward: this
 * engine is read and compared with, not raced.
 *
 * B batch, T time, NH heads, HS head size, C = NH·HS.
 */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { matMul, type Ops } from './math.ts';

export interface AttentionDims {
  readonly batchSize: number;
  readonly time: number;
  readonly nHead: number;
  readonly headSize: number;
  /** [B, T]: the first key that each query sees; null: they see all from the first on. */
  readonly starts: Int32Array | null;
}

/** Low enough that its exponential is 0, and finite: not every GPU has infinities. */
const MASKED_SCORE = -1e30;

/** [B, T, 3C] → query, key, value, each [B·NH, T, HS]. */
function splitHeads({ tf }: Ops, qkv: TfTensor, { batchSize, time, nHead, headSize }: AttentionDims) {
  const parts = tf.transpose(tf.reshape(qkv, [batchSize * time, 3, nHead * headSize]), [1, 0, 2]);
  const [q, k, v] = tf.unstack(parts).map((part) => {
    const heads = tf.transpose(tf.reshape(part, [batchSize, time, nHead, headSize]), [0, 2, 1, 3]);
    return tf.reshape(heads, [batchSize * nHead, time, headSize]);
  });
  return { q: q!, k: k!, v: v! };
}

/** [B·NH, T, HS] → [B·T, C]. */
function mergeHeads({ tf }: Ops, heads: TfTensor, { batchSize, time, nHead, headSize }: AttentionDims): TfTensor {
  const merged = tf.transpose(tf.reshape(heads, [batchSize, nHead, time, headSize]), [0, 2, 1, 3]);
  return tf.reshape(merged, [batchSize * time, nHead * headSize]);
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

/** dqkv [B·T, 3C] from dout [B·T, C] and the forward pass's lse [2, B·NH, T, 1]. */
export function attentionGradient(
  ops: Ops,
  { qkv, dout, lse, dropout }: { qkv: TfTensor; dout: TfTensor; lse: TfTensor; dropout?: TfTensor | undefined },
  dims: AttentionDims,
): TfTensor {
  const { tf } = ops;
  const { batchSize, time, nHead, headSize } = dims;
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
  const parts = [matMul(ops, dscores, k), matMul(ops, dscores, q, true), matMul(ops, kept, doutHeads, true)];
  return tf.concat(
    parts.map((part) => mergeHeads(ops, part, dims)),
    1,
  );
}

/** The newest T tokens of one sequence: q [T, C] over keys and values [positions, C], their own the last. out [T, C]. */
export function attendToCache(
  ops: Ops,
  { q, keys, values }: Record<'q' | 'keys' | 'values', TfTensor>,
  nHead: number,
): TfTensor {
  const [time, headSize] = [q.shape[0]!, q.shape[1]! / nHead];
  const headsOf = (rows: TfTensor) =>
    ops.tf.transpose(ops.tf.reshape(rows, [rows.shape[0]!, nHead, headSize]), [1, 0, 2]);
  const { weights } = softmax(ops, causalScores(ops, headsOf(q), headsOf(keys), null));
  return mergeHeads(ops, matMul(ops, weights, headsOf(values)), { batchSize: 1, time, nHead, headSize, starts: null });
}
