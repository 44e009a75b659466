/**
 * Multi-head attention from its definition, in float64 (see reference.ts).
 *
 * B batch, T time (Tq queries, Tk keys), NH heads, NKV heads of keys and values, HS head size, C = NH·HS channels.
 */
import type { Numbers } from './reference.ts';

interface Heads {
  readonly nHead: number;
  /** Absent: NH. Each head of keys and values serves NH / NKV heads of queries that follow each other. */
  readonly nKvHead?: number | undefined;
  readonly headSize: number;
}

interface Shared extends Heads {
  readonly b: number;
  /** Tq. */
  readonly t: number;
  /** [B, NH, Tq, Tk], multiplies the attention weights: dropout. */
  readonly mask?: Float64Array | undefined;
  /** [B, Tq]: the first key that each query sees; absent: all see key 0. */
  readonly starts?: Int32Array | undefined;
  /** [B, Tq]: the end of the keys that each query sees; absent: that of its own position. */
  readonly ends?: Int32Array | undefined;
}

export interface AttentionInput extends Shared {
  /** [B, T, (NH + 2 NKV)·HS]: q|k|v. */
  readonly qkv: Numbers;
}

export interface SeparateInput extends Shared {
  /** [B, Tq, NH·HS]. */
  readonly q: Numbers;
  /** [B, Tk, 2 NKV·HS]: k|v. */
  readonly kv: Numbers;
  /** Tk. */
  readonly keys: number;
}

/** The width of rows q|k|v. */
export function qkvWidth({ nHead, nKvHead = nHead, headSize }: Heads): number {
  return (nHead + 2 * nKvHead) * headSize;
}

/** Columns [from, to) of rows. */
function columns(rows: Numbers, width: number, from: number, to: number): Float64Array {
  const part = new Float64Array((rows.length / width) * (to - from));
  for (let row = 0, at = 0; row < rows.length; row += width) {
    for (let x = from; x < to; x++) part[at++] = rows[row + x]!;
  }
  return part;
}

function separate({ qkv, ...shared }: AttentionInput): SeparateInput {
  const [c, width] = [shared.nHead * shared.headSize, qkvWidth(shared)];
  return { ...shared, q: columns(qkv, width, 0, c), kv: columns(qkv, width, c, width), keys: shared.t };
}

function indexer({ t, keys, nHead, nKvHead = nHead, headSize }: SeparateInput) {
  const [c, kvWidth] = [nHead * headSize, nKvHead * headSize];
  const shared = (head: number) => Math.floor(head / (nHead / nKvHead)) * headSize;
  return {
    qAt: (sample: number, i: number, head: number, e: number) => (sample * t + i) * c + head * headSize + e,
    kAt: (sample: number, j: number, head: number, e: number) => (sample * keys + j) * 2 * kvWidth + shared(head) + e,
    vAt: (sample: number, j: number, head: number, e: number) =>
      ((sample * keys + j) * 2 + 1) * kvWidth + shared(head) + e,
    maskAt: (sample: number, head: number, i: number, j: number) => ((sample * nHead + head) * t + i) * keys + j,
  };
}

/** The weights of query i over all keys, 0 where it does not see them, and the log of their denominator. */
function softmaxRow(input: SeparateInput, sample: number, head: number, i: number) {
  const { q, kv, t, keys, headSize, starts, ends } = input;
  const { qAt, kAt } = indexer(input);
  const scores = new Float64Array(keys).fill(-Infinity);
  const end = ends?.[sample * t + i] ?? i + 1;
  for (let j = starts?.[sample * t + i] ?? 0; j < end; j++) {
    let dot = 0;
    for (let e = 0; e < headSize; e++) dot += q[qAt(sample, i, head, e)]! * kv[kAt(sample, j, head, e)]!;
    scores[j] = dot / Math.sqrt(headSize);
  }
  const max = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = scores.reduce((total, score) => total + Math.exp(score - max), 0);
  return { weights: scores.map((score) => Math.exp(score - max) / sum), lse: max + Math.log(sum) };
}

/** out [B, Tq, C] and lse [B, NH, Tq]. */
export function attentionForward(input: AttentionInput | SeparateInput) {
  const operands = 'qkv' in input ? separate(input) : input;
  const { kv, b, t, keys, nHead, headSize, mask } = operands;
  const { qAt, vAt, maskAt } = indexer(operands);
  const out = new Float64Array(b * t * nHead * headSize);
  const lse = new Float64Array(b * nHead * t);
  for (let sample = 0; sample < b; sample++) {
    for (let head = 0; head < nHead; head++) {
      for (let i = 0; i < t; i++) {
        const row = softmaxRow(operands, sample, head, i);
        lse[(sample * nHead + head) * t + i] = row.lse;
        for (let j = 0; j < keys; j++) {
          if (row.weights[j] === 0) continue;
          const weight = row.weights[j]! * (mask?.[maskAt(sample, head, i, j)] ?? 1);
          for (let e = 0; e < headSize; e++) out[qAt(sample, i, head, e)]! += weight * kv[vAt(sample, j, head, e)]!;
        }
      }
    }
  }
  return { out, lse };
}

/** The size of what `out` is made of: the same weights over values without their signs. */
export function attentionForwardTerms(input: AttentionInput | SeparateInput): Float64Array {
  const operands = 'qkv' in input ? separate(input) : input;
  const { nHead, nKvHead = nHead, headSize } = operands;
  const kvWidth = nKvHead * headSize;
  const kv = Float64Array.from(operands.kv, (value, i) => (i % (2 * kvWidth) >= kvWidth ? Math.abs(value) : value));
  return attentionForward({ ...operands, kv }).out;
}

/** dqkv, of the shape of qkv, for dout [B, T, C]; or, of the `terms` that its numbers are sums of, the magnitudes. */
export function attentionBackward(
  input: AttentionInput,
  dout: Numbers,
  of: 'gradients' | 'terms' = 'gradients',
): Float64Array {
  const { dq, dkv } = separateAttentionBackward(separate(input), dout, of);
  const [c, width] = [input.nHead * input.headSize, qkvWidth(input)];
  const dqkv = new Float64Array(input.qkv.length);
  for (let row = 0; row < dqkv.length / width; row++) {
    dqkv.set(dq.subarray(row * c, (row + 1) * c), row * width);
    dqkv.set(dkv.subarray(row * (width - c), (row + 1) * (width - c)), row * width + c);
  }
  return dqkv;
}

/** The same of queries apart from keys and values: dq and dkv. */
export function separateAttentionBackward(
  input: SeparateInput,
  dout: Numbers,
  of: 'gradients' | 'terms' = 'gradients',
): { dq: Float64Array; dkv: Float64Array } {
  const term = of === 'terms' ? Math.abs : (value: number) => value;
  const { q, kv, b, t, keys, nHead, headSize, mask } = input;
  const { qAt, kAt, vAt, maskAt } = indexer(input);
  const [dq, dkv] = [new Float64Array(q.length), new Float64Array(kv.length)];
  for (let sample = 0; sample < b; sample++) {
    for (let head = 0; head < nHead; head++) {
      for (let i = 0; i < t; i++) {
        const { weights } = softmaxRow(input, sample, head, i);
        const dweights = new Float64Array(keys);
        for (let j = 0; j < keys; j++) {
          if (weights[j] === 0) continue;
          const keep = mask?.[maskAt(sample, head, i, j)] ?? 1;
          for (let e = 0; e < headSize; e++) {
            const d = term(dout[qAt(sample, i, head, e)]!);
            dweights[j]! += d * term(kv[vAt(sample, j, head, e)]!) * keep;
            dkv[vAt(sample, j, head, e)]! += d * weights[j]! * keep;
          }
        }
        const meanD = weights.reduce((sum, weight, j) => sum + weight * dweights[j]!, 0);
        for (let j = 0; j < keys; j++) {
          if (weights[j] === 0) continue;
          const apart = of === 'terms' ? dweights[j]! + meanD : dweights[j]! - meanD;
          const dscore = (weights[j]! * apart) / Math.sqrt(headSize);
          for (let e = 0; e < headSize; e++) {
            dq[qAt(sample, i, head, e)]! += dscore * term(kv[kAt(sample, j, head, e)]!);
            dkv[kAt(sample, j, head, e)]! += dscore * term(q[qAt(sample, i, head, e)]!);
          }
        }
      }
    }
  }
  return { dq, dkv };
}
