/**
 * The kernels of src/engine/engine.ts from their mathematical definitions: float64, plain loops, no blocking, nothing shared with
 * any engine. It is what every engine is compared with; reference.test.ts holds its gradients against finite differences.
 * Attention is in referenceAttention.ts.
 *
 * B batch, T time, C channels, V vocabulary, N rows (B·T), IC / OC input and output channels.
 */
import type { ActivationKind } from '../../../src/base/activations.ts';
import { randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import type { Dropout } from '../../../src/engine/dropout.ts';

/** What a float32 or float64 input is to the reference. */
export type Numbers = Float32Array | Float64Array;

/**
 * The sums of the magnitudes of the terms that a sum of products adds up, which rounding grows with: those of the function's result
 * for its operands without their signs.
 */
export function withoutSigns<T extends object>(operands: T): T {
  const entries = Object.entries(operands).map(([name, value]) => [
    name,
    value instanceof Float32Array || value instanceof Float64Array ? value.map(Math.abs) : value,
  ]);
  return Object.fromEntries(entries) as T;
}

export interface LinearInput {
  readonly inp: Numbers;
  readonly weight: Numbers;
  readonly bias?: Numbers | undefined;
  readonly n: number;
  readonly ic: number;
  readonly oc: number;
  /** weight is [OC, IC] instead of [IC, OC]. */
  readonly transposed: boolean;
}

function weightIndex({ ic, oc, transposed }: LinearInput, i: number, o: number): number {
  return transposed ? o * ic + i : i * oc + o;
}

/** out[n, o] = Σi inp[n, i] · W[i, o] + bias[o]. */
export function linearForward(input: LinearInput): Float64Array {
  const { inp, weight, bias, n, ic, oc } = input;
  const out = new Float64Array(n * oc);
  for (let row = 0; row < n; row++) {
    for (let o = 0; o < oc; o++) {
      let sum = bias?.[o] ?? 0;
      for (let i = 0; i < ic; i++) sum += inp[row * ic + i]! * weight[weightIndex(input, i, o)]!;
      out[row * oc + o] = sum;
    }
  }
  return out;
}

/** What follows the sum y = inp · W + bias: out = act(y), or residual + mask · y. */
export function linearEpilogue(
  y: Float64Array,
  after: { activation?: ActivationKind | undefined; residual?: Numbers | undefined; mask?: Float64Array | undefined },
): { y: Float64Array; out: Float64Array } {
  const { activation, residual, mask } = after;
  if (activation !== undefined) return { y, out: activationForward(activation, y) };
  return { y, out: y.map((value, i) => (residual?.[i] ?? 0) + (mask?.[i] ?? 1) * value) };
}

export function linearBackward(input: LinearInput, dout: Numbers) {
  const { inp, weight, n, ic, oc } = input;
  const dinp = new Float64Array(n * ic);
  const dweight = new Float64Array(ic * oc);
  const dbias = new Float64Array(oc);
  for (let row = 0; row < n; row++) {
    for (let o = 0; o < oc; o++) {
      const d = dout[row * oc + o]!;
      dbias[o]! += d;
      for (let i = 0; i < ic; i++) {
        const w = weightIndex(input, i, o);
        dinp[row * ic + i]! += d * weight[w]!;
        dweight[w]! += d * inp[row * ic + i]!;
      }
    }
  }
  return { dinp, dweight, dbias };
}

export interface LayerNormInput {
  readonly inp: Numbers;
  readonly weight: Numbers;
  readonly bias?: Numbers | undefined;
  readonly n: number;
  readonly c: number;
  readonly eps: number;
}

/** Mean and variance (not the unbiased one) over the C values of each row. */
export function layerNormForward({ inp, weight, bias, n, c, eps }: LayerNormInput) {
  const out = new Float64Array(n * c);
  const mean = new Float64Array(n);
  const rstd = new Float64Array(n);
  for (let row = 0; row < n; row++) {
    let sum = 0;
    for (let i = 0; i < c; i++) sum += inp[row * c + i]!;
    const mu = sum / c;
    let squares = 0;
    for (let i = 0; i < c; i++) squares += (inp[row * c + i]! - mu) ** 2;
    const r = 1 / Math.sqrt(squares / c + eps);
    for (let i = 0; i < c; i++) {
      out[row * c + i] = (inp[row * c + i]! - mu) * r * weight[i]! + (bias?.[i] ?? 0);
    }
    mean[row] = mu;
    rstd[row] = r;
  }
  return { out, mean, rstd };
}

/** The size of what out is made of: of the difference from the mean, and the bias. */
export function layerNormForwardTerms(input: LayerNormInput): Float64Array {
  const { inp, weight, bias, n, c } = input;
  const { rstd } = layerNormForward(input);
  const terms = new Float64Array(n * c);
  for (let row = 0; row < n; row++) {
    let mean = 0;
    for (let i = 0; i < c; i++) mean += Math.abs(inp[row * c + i]!) / c;
    for (let i = 0; i < c; i++) {
      const normalised = (Math.abs(inp[row * c + i]!) + mean) * rstd[row]!;
      terms[row * c + i] = normalised * Math.abs(weight[i]!) + Math.abs(bias?.[i] ?? 0);
    }
  }
  return terms;
}

/** The sizes of what the gradients are made of. */
export function layerNormBackwardTerms(input: LayerNormInput, dout: Numbers) {
  const { weight, n, c } = input;
  const { rstd } = layerNormForward(input);
  const normalised = layerNormForwardTerms({ ...input, weight: new Float64Array(c).fill(1), bias: undefined });
  const dinp = new Float64Array(n * c);
  const dweight = new Float64Array(c);
  const dbias = new Float64Array(c);
  for (let row = 0; row < n; row++) {
    let meanD = 0;
    let meanDNorm = 0;
    for (let i = 0; i < c; i++) {
      const d = Math.abs(dout[row * c + i]!);
      dbias[i]! += d;
      dweight[i]! += d * normalised[row * c + i]!;
      meanD += (d * Math.abs(weight[i]!)) / c;
      meanDNorm += (d * Math.abs(weight[i]!) * normalised[row * c + i]!) / c;
    }
    for (let i = 0; i < c; i++) {
      const own = Math.abs(dout[row * c + i]! * weight[i]!);
      dinp[row * c + i] = rstd[row]! * (own + meanD + normalised[row * c + i]! * meanDNorm);
    }
  }
  return { dinp, dweight, dbias };
}

export function layerNormBackward(input: LayerNormInput, dout: Numbers) {
  const { inp, weight, n, c } = input;
  const { mean, rstd } = layerNormForward(input);
  const dinp = new Float64Array(n * c);
  const dweight = new Float64Array(c);
  const dbias = new Float64Array(c);
  for (let row = 0; row < n; row++) {
    const normalised = (i: number) => (inp[row * c + i]! - mean[row]!) * rstd[row]!;
    let meanD = 0;
    let meanDNorm = 0;
    for (let i = 0; i < c; i++) {
      const d = dout[row * c + i]!;
      dbias[i]! += d;
      dweight[i]! += d * normalised(i);
      meanD += (d * weight[i]!) / c;
      meanDNorm += (d * weight[i]! * normalised(i)) / c;
    }
    for (let i = 0; i < c; i++) {
      dinp[row * c + i] = rstd[row]! * (dout[row * c + i]! * weight[i]! - meanD - normalised(i) * meanDNorm);
    }
  }
  return { dinp, dweight, dbias };
}

export interface RmsNormInput {
  readonly inp: Numbers;
  readonly weight: Numbers;
  readonly n: number;
  readonly c: number;
}

/** out = inp / sqrt(mean(inp²) + eps) · weight over the C values of each row. */
export function rmsNormForward({ inp, weight, n, c }: RmsNormInput, eps: number) {
  const out = new Float64Array(n * c);
  const rstd = new Float64Array(n);
  for (let row = 0; row < n; row++) {
    let squares = 0;
    for (let i = 0; i < c; i++) squares += inp[row * c + i]! ** 2;
    rstd[row] = 1 / Math.sqrt(squares / c + eps);
    for (let i = 0; i < c; i++) out[row * c + i] = inp[row * c + i]! * rstd[row]! * weight[i]!;
  }
  return { out, rstd };
}

export function rmsNormBackward({ inp, weight, n, c }: RmsNormInput, rstd: Numbers, dout: Numbers) {
  const dinp = new Float64Array(n * c);
  const dweight = new Float64Array(c);
  for (let row = 0; row < n; row++) {
    let meanDNorm = 0;
    for (let i = 0; i < c; i++) {
      const normalised = inp[row * c + i]! * rstd[row]!;
      dweight[i]! += dout[row * c + i]! * normalised;
      meanDNorm += (dout[row * c + i]! * weight[i]! * normalised) / c;
    }
    for (let i = 0; i < c; i++) {
      const normalised = inp[row * c + i]! * rstd[row]!;
      dinp[row * c + i] = rstd[row]! * (dout[row * c + i]! * weight[i]! - normalised * meanDNorm);
    }
  }
  return { dinp, dweight };
}

/** The sizes of what the gradients are made of. */
export function rmsNormBackwardTerms({ inp, weight, n, c }: RmsNormInput, rstd: Numbers, dout: Numbers) {
  const sizes = { inp: inp.map(Math.abs), weight: weight.map(Math.abs), n, c };
  const positive = rmsNormBackward(sizes, rstd, dout.map(Math.abs));
  const dinp = new Float64Array(n * c);
  for (let row = 0; row < n; row++) {
    for (let i = 0; i < c; i++) {
      const own = rstd[row]! * Math.abs(dout[row * c + i]! * weight[i]!);
      dinp[row * c + i] = own + Math.abs(own - positive.dinp[row * c + i]!);
    }
  }
  return { dinp, dweight: positive.dweight };
}

export interface RopeInput {
  readonly inp: Numbers;
  /** [positions, 2, HS/2]: cosines, then sines. */
  readonly table: Numbers;
  readonly b: number;
  readonly t: number;
  readonly width: number;
  readonly heads: number;
  readonly headSize: number;
  /** The position of the first token of each sequence. */
  readonly positions?: Int32Array | undefined;
  readonly starts?: Int32Array | undefined;
  readonly inverse?: boolean | undefined;
}

/** The first `heads` heads of each row as complex numbers, multiplied by e^(i · angle). */
export function rope(input: RopeInput): Float64Array {
  const { inp, table, b, t, width, heads, headSize, positions, starts, inverse } = input;
  const out = Float64Array.from(inp);
  const half = headSize / 2;
  for (let row = 0; row < b * t; row++) {
    const position = (positions?.[Math.floor(row / t)] ?? 0) + (row % t) - (starts?.[row] ?? 0);
    for (let head = 0; head < heads; head++) {
      for (let i = 0; i < half; i++) {
        const at = row * width + head * headSize + i;
        const cosine = table[position * headSize + i]!;
        const sine = (inverse ? -1 : 1) * table[position * headSize + half + i]!;
        out[at] = inp[at]! * cosine - inp[at + half]! * sine;
        out[at + half] = inp[at + half]! * cosine + inp[at]! * sine;
      }
    }
  }
  return out;
}

const GELU_SCALE = Math.sqrt(2 / Math.PI);

const geluTanh = (x: number): number => Math.tanh(GELU_SCALE * (x + 0.044715 * x ** 3));

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Each activation and its derivative. */
const activations = {
  /** x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))) */
  gelu: {
    value: (x) => 0.5 * x * (1 + geluTanh(x)),
    slope: (x) => 0.5 * (1 + geluTanh(x)) + 0.5 * x * (1 - geluTanh(x) ** 2) * GELU_SCALE * (1 + 3 * 0.044715 * x ** 2),
  },
  silu: {
    value: (x) => x * sigmoid(x),
    slope: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))),
  },
  relu: { value: (x) => Math.max(x, 0), slope: (x) => (x > 0 ? 1 : 0) },
} satisfies Record<ActivationKind, Record<'value' | 'slope', (x: number) => number>>;

export function activationForward(kind: ActivationKind, inp: Numbers): Float64Array {
  return Float64Array.from(inp, (x) => activations[kind].value(x));
}

export function activationBackward(kind: ActivationKind, inp: Numbers, dout: Numbers): Float64Array {
  return Float64Array.from(inp, (x, i) => dout[i]! * activations[kind].slope(x));
}

export interface GatedInput {
  readonly kind: ActivationKind;
  /** [N, 2I]: each row is gate|up. */
  readonly inp: Numbers;
  readonly n: number;
  readonly inner: number;
}

/** out [N, I] = act(gate) · up. */
export function gatedForward({ kind, inp, n, inner }: GatedInput): Float64Array {
  return Float64Array.from({ length: n * inner }, (_, i) => {
    const at = Math.floor(i / inner) * 2 * inner + (i % inner);
    return activations[kind].value(inp[at]!) * inp[at + inner]!;
  });
}

/** dinp [N, 2I]. */
export function gatedBackward({ kind, inp, n, inner }: GatedInput, dout: Numbers): Float64Array {
  const dinp = new Float64Array(n * 2 * inner);
  for (let i = 0; i < n * inner; i++) {
    const at = Math.floor(i / inner) * 2 * inner + (i % inner);
    dinp[at] = dout[i]! * inp[at + inner]! * activations[kind].slope(inp[at]!);
    dinp[at + inner] = dout[i]! * activations[kind].value(inp[at]!);
  }
  return dinp;
}

export interface EmbeddingInput {
  readonly tokens: Int32Array;
  readonly b: number;
  readonly t: number;
  readonly c: number;
  /** [B, T]: the first position of each one's document. */
  readonly starts?: Int32Array | undefined;
}

export function embeddingForward(
  { tokens, b, t, c, starts }: EmbeddingInput,
  wte: Numbers,
  wpe?: Numbers,
  positionOffset = 0,
  scale = 1,
): Float64Array {
  const out = new Float64Array(b * t * c);
  for (let row = 0; row < b * t; row++) {
    const position = positionOffset + (row % t) - (starts?.[row] ?? 0);
    for (let i = 0; i < c; i++) {
      out[row * c + i] = scale * wte[tokens[row]! * c + i]! + (wpe?.[position * c + i] ?? 0);
    }
  }
  return out;
}

/** Gradients of a [V, C] token table and a [positions, C] position table. */
export function embeddingBackward(
  { tokens, b, t, c, starts }: EmbeddingInput,
  dout: Numbers,
  { scale = 1, ...sizes }: { v: number; positions: number; scale?: number },
) {
  const dwte = new Float64Array(sizes.v * c);
  const dwpe = new Float64Array(sizes.positions * c);
  for (let row = 0; row < b * t; row++) {
    for (let i = 0; i < c; i++) {
      dwte[tokens[row]! * c + i]! += scale * dout[row * c + i]!;
      dwpe[((row % t) - (starts?.[row] ?? 0)) * c + i]! += dout[row * c + i]!;
    }
  }
  return { dwte, dwpe };
}

/** What dropout multiplies each element by: 0 or 1/(1 - rate). The samples follow one another, `perSample` elements each. */
export function dropoutMask({ rate, ...words }: Dropout, samples: number, perSample: number): Float64Array {
  const mask = new Float64Array(samples * perSample);
  for (let sample = 0; sample < samples; sample++) {
    const key = randomKey(words.seed, words.step, words.firstSample + sample, words.site);
    for (let i = 0; i < perSample; i++) {
      mask[sample * perSample + i] = randomUniform(key, i) >= rate ? 1 / (1 - rate) : 0;
    }
  }
  return mask;
}

export interface CrossEntropyInput {
  readonly logits: Numbers;
  /** -1: ignored. */
  readonly targets: Int32Array;
  readonly n: number;
  readonly v: number;
}

/** losses[n] = -log softmax(logits[n])[target]; dlogits[n] = (softmax - onehot) · scale · weights[n]. */
export function crossEntropy({ logits, targets, n, v }: CrossEntropyInput, scale: number, weights?: Numbers) {
  const losses = new Float64Array(n);
  const dlogits = new Float64Array(n * v);
  for (let row = 0; row < n; row++) {
    const target = targets[row]!;
    if (target === -1) continue;
    let max = -Infinity;
    for (let i = 0; i < v; i++) max = Math.max(max, logits[row * v + i]!);
    let sum = 0;
    for (let i = 0; i < v; i++) sum += Math.exp(logits[row * v + i]! - max);
    losses[row] = Math.log(sum) + max - logits[row * v + target]!;
    const factor = scale * (weights?.[row] ?? 1);
    for (let i = 0; i < v; i++) {
      dlogits[row * v + i] = (Math.exp(logits[row * v + i]! - max) / sum - (i === target ? 1 : 0)) * factor;
    }
  }
  return { losses, dlogits };
}

/** The sizes of what the losses and gradients are made of: the largest logit, and for the gradient at a target 1 beside its share. */
export function crossEntropyTerms(input: CrossEntropyInput, scale: number, weights?: Numbers) {
  const { logits, targets, n, v } = input;
  const terms = crossEntropy(input, scale, weights);
  for (let row = 0; row < n; row++) {
    const target = targets[row]!;
    if (target === -1) continue;
    let largest = 0;
    for (let i = 0; i < v; i++) largest = Math.max(largest, Math.abs(logits[row * v + i]!));
    terms.losses[row] = 2 * largest + Math.log(v);
    for (let i = 0; i < v; i++) terms.dlogits[row * v + i] = Math.abs(terms.dlogits[row * v + i]!);
    terms.dlogits[row * v + target] = scale * Math.abs(weights?.[row] ?? 1);
  }
  return terms;
}

/** The head: cross-entropy of the logits inp · W, with the gradients of scale · Σ weights[n] · losses[n]. */
export function linearCrossEntropy(input: LinearInput & { targets: Int32Array }, scale: number, weights?: Numbers) {
  const { targets, n, oc: v } = input;
  const { losses, dlogits } = crossEntropy({ logits: linearForward(input), targets, n, v }, scale, weights);
  const { dinp, dweight } = linearBackward(input, dlogits);
  return { losses, dinp, dweight };
}

/** The sizes of what its results are made of. */
export function linearCrossEntropyTerms(
  input: LinearInput & { targets: Int32Array },
  scale: number,
  weights?: Numbers,
) {
  const { targets, n, oc: v } = input;
  const { losses, dlogits } = crossEntropyTerms({ logits: linearForward(input), targets, n, v }, scale, weights);
  const { dinp, dweight } = linearBackward(withoutSigns(input), dlogits);
  return { losses, dinp, dweight };
}

export interface AdamwState {
  readonly param: Float64Array;
  readonly m: Float64Array;
  readonly v: Float64Array;
}

export interface AdamwSettings {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly step: number;
  readonly gradScale: number;
  /** Follows the parameters, with this weight of the new ones. */
  readonly average?: Float64Array | undefined;
  readonly averageWeight?: number | undefined;
}

/** Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), algorithm 2, in PyTorch's order. Changes `state`. */
export function adamw(state: AdamwState, grad: Numbers, settings: AdamwSettings): void {
  const { learningRate, beta1, beta2, eps, weightDecay, step, gradScale } = settings;
  const { average, averageWeight = 0 } = settings;
  for (let i = 0; i < state.param.length; i++) {
    const g = grad[i]! * gradScale;
    state.m[i] = beta1 * state.m[i]! + (1 - beta1) * g;
    state.v[i] = beta2 * state.v[i]! + (1 - beta2) * g * g;
    const mHat = state.m[i]! / (1 - beta1 ** step);
    const vHat = state.v[i]! / (1 - beta2 ** step);
    state.param[i] =
      state.param[i]! * (1 - learningRate * weightDecay) - (learningRate * mHat) / (Math.sqrt(vHat) + eps);
    if (average) average[i] = (1 - averageWeight) * average[i]! + averageWeight * state.param[i]!;
  }
}
