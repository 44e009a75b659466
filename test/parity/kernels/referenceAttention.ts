/**
 * Causal multi-head attention from its definition, in float64 (see reference.ts).
 *
 * B batch, T time, NH heads, NKV heads of keys and values, HS head size, C = NH·HS channels.
 */
import type { Numbers } from './reference.ts';

export interface AttentionInput {
  /** [B, T, (NH + 2 NKV)·HS]: q|k|v. */
  readonly qkv: Numbers;
  readonly b: number;
  readonly t: number;
  readonly nHead: number;
  /** Absent: NH. Each head of keys and values serves NH / NKV heads of queries that follow each other. */
  readonly nKvHead?: number | undefined;
  readonly headSize: number;
  /** [B, NH, T, T], multiplies the attention weights: dropout. */
  readonly mask?: Float64Array | undefined;
  /** [B, T]: the first key that each query sees; absent: all see key 0. */
  readonly starts?: Int32Array | undefined;
}

type Part = 'q' | 'k' | 'v';

/** The width of rows q|k|v. */
export function qkvWidth({ nHead, nKvHead = nHead, headSize }: Pick<AttentionInput, 'nHead' | 'nKvHead' | 'headSize'>) {
  return (nHead + 2 * nKvHead) * headSize;
}

function indexer(input: AttentionInput) {
  const { t, nHead, nKvHead = nHead, headSize } = input;
  const c = nHead * headSize;
  const width = qkvWidth(input);
  const headOf = (part: Part, head: number) => {
    if (part === 'q') return head;
    const shared = Math.floor(head / (nHead / nKvHead));
    return nHead + (part === 'k' ? 0 : nKvHead) + shared;
  };
  return {
    c,
    qkvAt: (part: Part, sample: number, time: number, head: number, e: number) =>
      (sample * t + time) * width + headOf(part, head) * headSize + e,
    outAt: (sample: number, time: number, head: number, e: number) => (sample * t + time) * c + head * headSize + e,
    maskAt: (sample: number, head: number, i: number, j: number) => ((sample * nHead + head) * t + i) * t + j,
  };
}

/** The weights of query i over keys 0..i, 0 before the start of its document, and the log of their denominator. */
function softmaxRow(input: AttentionInput, sample: number, head: number, i: number) {
  const { qkv, headSize } = input;
  const { qkvAt } = indexer(input);
  const scores = new Float64Array(i + 1).fill(-Infinity);
  for (let j = input.starts?.[sample * input.t + i] ?? 0; j <= i; j++) {
    let dot = 0;
    for (let e = 0; e < headSize; e++) {
      dot += qkv[qkvAt('q', sample, i, head, e)]! * qkv[qkvAt('k', sample, j, head, e)]!;
    }
    scores[j] = dot / Math.sqrt(headSize);
  }
  const max = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const sum = scores.reduce((total, score) => total + Math.exp(score - max), 0);
  return { weights: scores.map((score) => Math.exp(score - max) / sum), lse: max + Math.log(sum) };
}

export function attentionForward(input: AttentionInput) {
  const { qkv, b, t, nHead, headSize, mask } = input;
  const { c, qkvAt, outAt, maskAt } = indexer(input);
  const out = new Float64Array(b * t * c);
  const lse = new Float64Array(b * nHead * t);
  for (let sample = 0; sample < b; sample++) {
    for (let head = 0; head < nHead; head++) {
      for (let i = 0; i < t; i++) {
        const row = softmaxRow(input, sample, head, i);
        lse[(sample * nHead + head) * t + i] = row.lse;
        for (let j = 0; j <= i; j++) {
          const weight = row.weights[j]! * (mask?.[maskAt(sample, head, i, j)] ?? 1);
          for (let e = 0; e < headSize; e++) {
            out[outAt(sample, i, head, e)]! += weight * qkv[qkvAt('v', sample, j, head, e)]!;
          }
        }
      }
    }
  }
  return { out, lse };
}

/** The size of what `out` is made of: the same weights over values without their signs. */
export function attentionForwardTerms(input: AttentionInput): Float64Array {
  const { nHead, nKvHead = nHead, headSize } = input;
  const width = qkvWidth(input);
  const valuesFrom = width - nKvHead * headSize;
  const qkv = input.qkv.map((value, i) => (i % width >= valuesFrom ? Math.abs(value) : value));
  return attentionForward({ ...input, qkv }).out;
}

/** dqkv, of the shape of qkv, for dout [B, T, C]; or, of the `terms` that its numbers are sums of, the magnitudes. */
export function attentionBackward(
  input: AttentionInput,
  dout: Numbers,
  of: 'gradients' | 'terms' = 'gradients',
): Float64Array {
  const term = of === 'terms' ? Math.abs : (value: number) => value;
  const { qkv, b, t, nHead, headSize, mask } = input;
  const { qkvAt, outAt, maskAt } = indexer(input);
  const dqkv = new Float64Array(qkv.length);
  for (let sample = 0; sample < b; sample++) {
    for (let head = 0; head < nHead; head++) {
      for (let i = 0; i < t; i++) {
        const { weights } = softmaxRow(input, sample, head, i);
        const dweights = new Float64Array(i + 1);
        for (let j = 0; j <= i; j++) {
          const keep = mask?.[maskAt(sample, head, i, j)] ?? 1;
          for (let e = 0; e < headSize; e++) {
            const d = term(dout[outAt(sample, i, head, e)]!);
            dweights[j]! += d * term(qkv[qkvAt('v', sample, j, head, e)]!) * keep;
            dqkv[qkvAt('v', sample, j, head, e)]! += d * weights[j]! * keep;
          }
        }
        const meanD = weights.reduce((sum, weight, j) => sum + weight * dweights[j]!, 0);
        for (let j = 0; j <= i; j++) {
          const apart = of === 'terms' ? dweights[j]! + meanD : dweights[j]! - meanD;
          const dscore = (weights[j]! * apart) / Math.sqrt(headSize);
          for (let e = 0; e < headSize; e++) {
            dqkv[qkvAt('q', sample, i, head, e)]! += dscore * term(qkv[qkvAt('k', sample, j, head, e)]!);
            dqkv[qkvAt('k', sample, j, head, e)]! += dscore * term(qkv[qkvAt('q', sample, i, head, e)]!);
          }
        }
      }
    }
  }
  return dqkv;
}
