/** The reference's backward functions against central finite differences of its forward functions, in float64. */
import { describe, expect, it } from 'vitest';
import { rotaryTable } from '../../../src/architecture/rotaryTable.ts';
import { activationKinds } from '../../../src/base/activations.ts';
import { seededDropout, seededValues } from './harness.ts';
import * as reference from './reference.ts';
import { attentionBackward, attentionForward, separateAttentionBackward } from './referenceAttention.ts';

const STEP = 1e-5;
/** Central differences with this step in float64 are good to about 1e-10 of the function's scale. */
const TOLERANCE = 1e-8;

const values = (seed: number, size: number) => Float64Array.from(seededValues(seed, size));
const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

/** Compares `gradient` with that of `loss` at `at`, for every element. */
function expectGradient(at: Float64Array, gradient: Float64Array, loss: () => number): void {
  expect(gradient.length).toBe(at.length);
  for (let i = 0; i < at.length; i++) {
    const original = at[i]!;
    at[i] = original + STEP;
    const above = loss();
    at[i] = original - STEP;
    const below = loss();
    at[i] = original;
    const expected = (above - below) / (2 * STEP);
    expect(Math.abs(gradient[i]! - expected), `element ${i}: ${gradient[i]} against ${expected}`).toBeLessThan(
      TOLERANCE,
    );
  }
}

describe('the reference against finite differences', () => {
  it.each([false, true])('linear, transposed weight %s', (transposed) => {
    const [n, ic, oc] = [3, 5, 4];
    const input = { inp: values(1, n * ic), weight: values(2, ic * oc), bias: values(3, oc), n, ic, oc, transposed };
    const dout = values(4, n * oc);
    const loss = () => dot(reference.linearForward(input), dout);
    const gradients = reference.linearBackward(input, dout);
    expectGradient(input.inp, gradients.dinp, loss);
    expectGradient(input.weight, gradients.dweight, loss);
    expectGradient(input.bias, gradients.dbias, loss);
  });

  it('layer norm', () => {
    const [n, c] = [4, 6];
    const input = { inp: values(1, n * c), weight: values(2, c), bias: values(3, c), n, c, eps: 1e-5 };
    const dout = values(4, n * c);
    const loss = () => dot(reference.layerNormForward(input).out, dout);
    const gradients = reference.layerNormBackward(input, dout);
    expectGradient(input.inp, gradients.dinp, loss);
    expectGradient(input.weight, gradients.dweight, loss);
    expectGradient(input.bias, gradients.dbias, loss);
  });

  it('rms norm', () => {
    const [n, c] = [4, 6];
    const input = { inp: values(1, n * c), weight: values(2, c), n, c };
    const dout = values(4, n * c);
    const loss = () => dot(reference.rmsNormForward(input, 1e-5).out, dout);
    const gradients = reference.rmsNormBackward(input, reference.rmsNormForward(input, 1e-5).rstd, dout);
    expectGradient(input.inp, gradients.dinp, loss);
    expectGradient(input.weight, gradients.dweight, loss);
  });

  it('rotary positions: back by the inverse, and scores depend on the distance alone', () => {
    const [b, t, width, heads, headSize, rows] = [2, 4, 14, 2, 6, 9];
    const table = Float64Array.from(rotaryTable(rows, headSize, 100));
    const positions = Int32Array.of(5, 2);
    const starts = Int32Array.of(0, 0, 2, 2, 0, 1, 1, 3);
    const input = { inp: values(1, b * t * width), table, b, t, width, heads, headSize, positions, starts };
    const dout = values(2, b * t * width);
    expectGradient(input.inp, reference.rope({ ...input, inp: dout, inverse: true }), () =>
      dot(reference.rope(input), dout),
    );
    const row = { table, b: 1, t: 1, width: headSize, heads: 1, headSize };
    const [query, key] = [values(3, headSize), values(4, headSize)];
    const at = (inp: Float64Array, position: number) =>
      reference.rope({ ...row, inp, positions: Int32Array.of(position) });
    expect(dot(at(query, 7), at(key, 4))).toBeCloseTo(dot(at(query, 3), at(key, 0)), 6);
    expect(at(query, 0)).toEqual(query);
  });

  it.each(activationKinds)('a gated %s', (kind) => {
    const [n, inner] = [3, 5];
    const input = { kind, inp: values(1, n * 2 * inner).map((x) => 3 * x), n, inner };
    const dout = values(2, n * inner);
    expectGradient(input.inp, reference.gatedBackward(input, dout), () => dot(reference.gatedForward(input), dout));
  });

  it.each(activationKinds)('%s', (kind) => {
    const inp = values(1, 40).map((x) => 3 * x);
    const dout = values(2, 40);
    expectGradient(inp, reference.activationBackward(kind, inp, dout), () =>
      dot(reference.activationForward(kind, inp), dout),
    );
  });

  it('embedding', () => {
    const input = { tokens: Int32Array.of(2, 0, 2, 4, 4, 2), b: 2, t: 3, c: 2 };
    const [wte, wpe, dout] = [values(1, 10), values(2, 8), values(3, 12)];
    const loss = () => dot(reference.embeddingForward(input, wte, wpe), dout);
    const gradients = reference.embeddingBackward(input, dout, { v: 5, positions: 4 });
    expectGradient(wte, gradients.dwte, loss);
    expectGradient(wpe, gradients.dwpe, loss);
  });

  it('embedding of documents', () => {
    const input = {
      tokens: Int32Array.of(2, 0, 2, 4, 4, 2),
      b: 2,
      t: 3,
      c: 2,
      starts: Int32Array.of(0, 1, 1, 0, 0, 2),
    };
    const [wte, wpe, dout] = [values(1, 10), values(2, 8), values(3, 12)];
    const loss = () => dot(reference.embeddingForward(input, wte, wpe), dout);
    const gradients = reference.embeddingBackward(input, dout, { v: 5, positions: 4 });
    expectGradient(wte, gradients.dwte, loss);
    expectGradient(wpe, gradients.dwpe, loss);
    // Positions 0, 0, 1 and 0, 1, 0: the third row of the table is not used.
    expect(gradients.dwpe.subarray(4)).toEqual(new Float64Array(4));
  });

  it('dropout: its own backward', () => {
    const mask = reference.dropoutMask(seededDropout(1, 0.4), 2, 5);
    const [inp, dout] = [values(1, 10), values(2, 10)];
    const apply = (x: Float64Array) => x.map((value, i) => value * mask[i]!);
    expectGradient(inp, apply(dout), () => dot(apply(inp), dout));
  });

  it.each([0, 0.3])('attention with dropout %s', (rate) => {
    const [b, t, nHead, headSize] = [2, 4, 2, 3];
    const mask = reference.dropoutMask(seededDropout(5, rate), b, nHead * t * t);
    const input = { qkv: values(1, b * t * 3 * nHead * headSize), b, t, nHead, headSize, mask };
    const dout = values(2, b * t * nHead * headSize);
    expectGradient(input.qkv, attentionBackward(input, dout), () => dot(attentionForward(input).out, dout));
  });

  it.each([0, 0.3])('attention of documents with dropout %s', (rate) => {
    const [b, t, nHead, headSize] = [2, 5, 2, 3];
    const mask = reference.dropoutMask(seededDropout(5, rate), b, nHead * t * t);
    const starts = Int32Array.of(0, 0, 2, 2, 4, 0, 1, 1, 1, 1);
    const input = { qkv: values(1, b * t * 3 * nHead * headSize), b, t, nHead, headSize, mask, starts };
    const dout = values(2, b * t * nHead * headSize);
    expectGradient(input.qkv, attentionBackward(input, dout), () => dot(attentionForward(input).out, dout));
  });

  it('attention with grouped queries', () => {
    const [b, t, nHead, nKvHead, headSize] = [2, 4, 4, 2, 3];
    const mask = reference.dropoutMask(seededDropout(5, 0.3), b, nHead * t * t);
    const input = { qkv: values(1, b * t * (nHead + 2 * nKvHead) * headSize), b, t, nHead, nKvHead, headSize, mask };
    const dout = values(2, b * t * nHead * headSize);
    expectGradient(input.qkv, attentionBackward(input, dout), () => dot(attentionForward(input).out, dout));
  });

  it.each([0, 0.3])('attention to ranges of keys of another sequence with dropout %s', (rate) => {
    const [b, t, keys, nHead, nKvHead, headSize] = [2, 3, 4, 4, 2, 3];
    const mask = reference.dropoutMask(seededDropout(5, rate), b, nHead * t * keys);
    const [q, kv] = [values(1, b * t * nHead * headSize), values(3, b * keys * 2 * nKvHead * headSize)];
    const [starts, ends] = [Int32Array.of(0, 2, 1, 3, 0, 0), Int32Array.of(4, 3, 4, 4, 1, 2)];
    const input = { q, kv, b, t, keys, nHead, nKvHead, headSize, mask, starts, ends };
    const dout = values(2, q.length);
    const { dq, dkv } = separateAttentionBackward(input, dout);
    const loss = () => dot(attentionForward(input).out, dout);
    expectGradient(q, dq, loss);
    expectGradient(kv, dkv, loss);
  });

  it('attention of a document is that of a sample by itself', () => {
    const [t, nHead, headSize] = [7, 2, 3];
    const c = nHead * headSize;
    const [first, second] = [values(1, 4 * 3 * c), values(2, 3 * 3 * c)];
    const own = { b: 1, nHead, headSize };
    const starts = Int32Array.of(0, 0, 0, 0, 4, 4, 4);
    const packed = attentionForward({ ...own, t, qkv: Float64Array.of(...first, ...second), starts });
    expect(packed.out.subarray(0, 4 * c)).toEqual(attentionForward({ ...own, t: 4, qkv: first }).out);
    expect(packed.out.subarray(4 * c)).toEqual(attentionForward({ ...own, t: 3, qkv: second }).out);
  });

  it('attention: the log of the denominator', () => {
    const input = { qkv: values(3, 2 * 3), b: 1, t: 2, nHead: 1, headSize: 1 };
    const score = (j: number) => input.qkv[3]! * input.qkv[3 * j + 1]!;
    expect(attentionForward(input).lse[1]).toBeCloseTo(Math.log(Math.exp(score(0)) + Math.exp(score(1))), 12);
  });

  it('cross-entropy, with an ignored target', () => {
    const input = { logits: values(1, 20).map((x) => 4 * x), targets: Int32Array.of(3, -1, 0, 4), n: 4, v: 5 };
    const scale = 0.7;
    const { dlogits } = reference.crossEntropy(input, scale);
    expectGradient(input.logits, dlogits, () =>
      reference.crossEntropy(input, scale).losses.reduce((sum, loss) => sum + scale * loss, 0),
    );
  });

  it('AdamW moves by the learning rate along the sign at its first step, and decays apart from that', () => {
    const state = { param: Float64Array.of(2, 2), m: new Float64Array(2), v: new Float64Array(2) };
    const settings = { learningRate: 0.1, beta1: 0.9, beta2: 0.95, eps: 0, weightDecay: 0.5, step: 1, gradScale: 3 };
    reference.adamw(state, Float64Array.of(7, -0.01), settings);
    expect(state.param[0]).toBeCloseTo(2 * (1 - 0.05) - 0.1, 12);
    expect(state.param[1]).toBeCloseTo(2 * (1 - 0.05) + 0.1, 12);
  });
});
