/**
 * The kernels' formulas in TensorFlow.js operations, on immutable tensors: no engine, no buffers. Activations and
 * attention are in their own files.
 *
 * B batch, T time, C channels, V vocabulary, N rows, IC / OC input and output channels.
 */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { randomUniform } from '../../base/counterRandom.ts';
import { type Dropout, forEachSampleKey } from '../dropout.ts';
import type { AdamwOptions } from '../optimizerOptions.ts';
import type { Tf } from './backends.ts';

/** TensorFlow.js and what its active backend does badly. */
export interface Ops {
  readonly tf: Tf;
  /** The wasm backend multiplies fast only what is neither transposed nor batched. */
  readonly plainMatMulOnly: boolean;
}

/** From this number of products on, each matrix of a batch gets its own multiplication; below, slicing it out would cost more. */
const UNBATCHED_PRODUCTS = 2 ** 18;

/** a @ b over the last two dimensions, either transposed; both have the same leading dimension, if any. */
export function matMul(
  { tf, plainMatMulOnly }: Ops,
  a: TfTensor,
  b: TfTensor,
  transposeA = false,
  transposeB = false,
): TfTensor {
  if (!plainMatMulOnly) return tf.matMul(a, b, transposeA, transposeB);
  const plain = (x: TfTensor, y: TfTensor) =>
    tf.matMul(transposeA ? tf.transpose(x) : x, transposeB ? tf.transpose(y) : y);
  if (a.rank === 2) return plain(a, b);
  const products = (a.shape[1]! * a.shape[2]! * b.size) / (b.shape[0]! * b.shape[transposeB ? 2 : 1]!);
  if (products < UNBATCHED_PRODUCTS) return tf.matMul(a, b, transposeA, transposeB);
  const right = tf.unstack(b);
  return tf.stack(tf.unstack(a).map((matrix, i) => plain(matrix, right[i]!)));
}

/** inp [N, IC] @ weight + bias [OC]; row by row if they must be `apart`: backends choose by N how they multiply. */
export function linear(
  ops: Ops,
  inp: TfTensor,
  { weight, weightTransposed, bias }: { weight: TfTensor; weightTransposed: boolean; bias: TfTensor | undefined },
  apart: boolean,
): TfTensor {
  const rows = apart && inp.shape[0]! > 1 ? ops.tf.split(inp, inp.shape[0]!) : [inp];
  const products = rows.map((row) => matMul(ops, row, weight, false, weightTransposed));
  const product = products.length === 1 ? products[0]! : ops.tf.concat(products);
  return bias === undefined ? product : ops.tf.add(product, bias);
}

/** The gradient of the weight, in the weight's layout. */
export function linearWeightGradient(ops: Ops, inp: TfTensor, dout: TfTensor, weightTransposed: boolean): TfTensor {
  return weightTransposed ? matMul(ops, dout, inp, true) : matMul(ops, inp, dout, true);
}

/** inp [N, C]; mean and rstd come out as [N, 1]. */
export function layerNorm({ tf }: Ops, inp: TfTensor, weight: TfTensor, bias: TfTensor | undefined, eps: number) {
  const mean = tf.mean(inp, 1, true);
  const centred = tf.sub(inp, mean);
  const rstd = tf.rsqrt(tf.add(tf.mean(tf.square(centred), 1, true), eps));
  const scaled = tf.mul(tf.mul(centred, rstd), weight);
  return { out: bias === undefined ? scaled : tf.add(scaled, bias), mean, rstd };
}

/** All [N, C], weight [C], mean and rstd [N, 1]. */
export function layerNormGradients(
  { tf }: Ops,
  { dout, inp, weight, mean, rstd }: Record<'dout' | 'inp' | 'weight' | 'mean' | 'rstd', TfTensor>,
) {
  const normalised = tf.mul(tf.sub(inp, mean), rstd);
  const dnormalised = tf.mul(dout, weight);
  const along = tf.mean(tf.mul(dnormalised, normalised), 1, true);
  const dinp = tf.mul(rstd, tf.sub(tf.sub(dnormalised, tf.mean(dnormalised, 1, true)), tf.mul(normalised, along)));
  return { dinp, dweight: tf.sum(tf.mul(dout, normalised), 0), dbias: tf.sum(dout, 0) };
}

/** inp [N, C]; rstd comes out as [N, 1]. */
export function rmsNorm({ tf }: Ops, inp: TfTensor, weight: TfTensor, eps: number) {
  const rstd = tf.rsqrt(tf.add(tf.mean(tf.square(inp), 1, true), eps));
  return { out: tf.mul(tf.mul(inp, rstd), weight), rstd };
}

/** All [N, C], weight [C], rstd [N, 1]. */
export function rmsNormGradients(
  { tf }: Ops,
  { dout, inp, weight, rstd }: Record<'dout' | 'inp' | 'weight' | 'rstd', TfTensor>,
) {
  const normalised = tf.mul(inp, rstd);
  const dnormalised = tf.mul(dout, weight);
  const along = tf.mean(tf.mul(dnormalised, normalised), 1, true);
  const dinp = tf.mul(rstd, tf.sub(dnormalised, tf.mul(normalised, along)));
  return { dinp, dweight: tf.sum(tf.mul(dout, normalised), 0) };
}

/**
 * The rows of inp [N, W], whose first `heads` heads are rotated by the angles of their positions. The halves of the heads are the real
 * and imaginary parts of numbers that are multiplied by those of the table [rows, 2, HS/2].
 */
export function rope(
  { tf }: Ops,
  inp: TfTensor,
  table: TfTensor,
  { heads, positions, inverse }: { heads: number; positions: Int32Array; inverse: boolean },
): TfTensor {
  const [n, width] = inp.shape as [number, number];
  const half = table.shape[2]!;
  const rotated = 2 * heads * half;
  const turns = tf.gather(table, tf.tensor1d(positions, 'int32')); // [N, 2, HS/2]
  const [cosines, sines] = tf.split(turns, 2, 1) as [TfTensor, TfTensor]; // [N, 1, HS/2]
  const numbers = tf.reshape(tf.slice(inp, [0, 0], [n, rotated]), [n, heads, 2 * half]);
  const [real, imaginary] = tf.split(numbers, 2, 2) as [TfTensor, TfTensor];
  const [realBySine, imaginaryBySine] = [tf.mul(real, sines), tf.mul(imaginary, sines)];
  const parts = inverse
    ? [tf.add(tf.mul(real, cosines), imaginaryBySine), tf.sub(tf.mul(imaginary, cosines), realBySine)]
    : [tf.sub(tf.mul(real, cosines), imaginaryBySine), tf.add(tf.mul(imaginary, cosines), realBySine)];
  const result = tf.reshape(tf.concat(parts, 2), [n, rotated]);
  return rotated === width ? result : tf.concat([result, tf.slice(inp, [0, rotated], [n, width - rotated])], 1);
}

/**
 * The sum of the rows of dout [N, C] that belong to each token, as a [V, C] table. The rows of a token are summed by a product
 * with a 0/1 matrix over the tokens that occur: scattering them would sum in an order that GPUs do not fix.
 */
export function embeddingGradient(ops: Ops, tokens: Int32Array, dout: TfTensor, vocabSize: number): TfTensor {
  const { tf } = ops;
  const distinct = [...new Set(tokens)];
  const rowOf = new Map(distinct.map((token, row) => [token, row]));
  const membership = new Float32Array(distinct.length * tokens.length);
  tokens.forEach((token, n) => {
    membership[rowOf.get(token)! * tokens.length + n] = 1;
  });
  const sums = matMul(ops, tf.tensor2d(membership, [distinct.length, tokens.length]), dout);
  const indices = tf.tensor2d(distinct, [distinct.length, 1], 'int32');
  return tf.scatterND(indices, sums, [vocabSize, dout.shape[1]!]);
}

/** What a gradient of losses is multiplied by: `scale` everywhere, and `weights` [N] where they are. */
interface LossGradient {
  readonly scale: number;
  readonly weights: TfTensor | undefined;
}

/** logits [N, V]; a target of -1 counts nothing. */
export function crossEntropy(
  { tf }: Ops,
  logits: TfTensor,
  targets: Int32Array,
  gradient: LossGradient | undefined,
): { losses: TfTensor; dlogits: TfTensor | undefined } {
  const isCounted = tf.tensor1d(
    Uint8Array.from(targets, (target) => (target === -1 ? 0 : 1)),
    'bool',
  );
  const counted = tf.cast(isCounted, 'float32');
  const indices = tf.tensor2d(
    Int32Array.from({ length: 2 * targets.length }, (_, i) =>
      i % 2 === 0 ? i / 2 : Math.max(targets[(i - 1) / 2]!, 0),
    ),
    [targets.length, 2],
    'int32',
  );
  const shifted = tf.sub(logits, tf.max(logits, 1, true));
  const exponentials = tf.exp(shifted);
  const sums = tf.sum(exponentials, 1, true); // [N, 1]
  const picked = tf.gatherND(shifted, indices); // [N]
  const losses = tf.mul(counted, tf.sub(tf.log(tf.reshape(sums, [-1])), picked));
  if (gradient === undefined) return { losses, dlogits: undefined };
  const scaled = tf.mul(counted, gradient.scale);
  // Chosen, not multiplied: a row that counts nothing may weigh anything, and 0 · Infinity is NaN.
  const weights =
    gradient.weights === undefined ? scaled : tf.where(isCounted, tf.mul(scaled, gradient.weights), scaled);
  const expected = tf.scatterND(indices, weights, logits.shape);
  const predicted = tf.mul(exponentials, tf.div(tf.reshape(weights, [-1, 1]), sums));
  return { losses, dlogits: tf.sub(predicted, expected) };
}

/**
 * The losses of inp @ weight, `rows` rows of logits at a time, and the gradients that are wanted: dinp if that is true, dweight
 * added to what is in it.
 */
export function linearCrossEntropy(
  ops: Ops,
  operands: { inp: TfTensor; weight: TfTensor; weightTransposed: boolean; targets: Int32Array },
  rows: number,
  wanted: LossGradient & { dinp: boolean; dweight: TfTensor | undefined },
): { losses: TfTensor; dinp: TfTensor | undefined; dweight: TfTensor | undefined } {
  const { tf } = ops;
  const { inp, weight, weightTransposed, targets } = operands;
  const losses: TfTensor[] = [];
  const dinps: TfTensor[] = [];
  let { dweight } = wanted;
  for (let from = 0; from < targets.length; from += rows) {
    const count = Math.min(rows, targets.length - from);
    const before = dweight;
    const results: Record<string, TfTensor> = tf.tidy(() => {
      const chunk = tf.slice(inp, [from, 0], [count, inp.shape[1]!]);
      const logits = matMul(ops, chunk, weight, false, weightTransposed);
      const weights = wanted.weights && tf.slice(wanted.weights, [from], [count]);
      const gradient = wanted.dinp || before !== undefined ? { scale: wanted.scale, weights } : undefined;
      const loss = crossEntropy(ops, logits, targets.subarray(from, from + count), gradient);
      const { dlogits } = loss;
      if (dlogits === undefined) return { losses: loss.losses };
      return {
        losses: loss.losses,
        ...(wanted.dinp && { dinp: matMul(ops, dlogits, weight, false, !weightTransposed) }),
        ...(before && { dweight: tf.add(before, linearWeightGradient(ops, chunk, dlogits, weightTransposed)) }),
      };
    });
    losses.push(results['losses']!);
    if (results['dinp'] !== undefined) dinps.push(results['dinp']);
    dweight = results['dweight'];
  }
  return { losses: tf.concat(losses), dinp: wanted.dinp ? tf.concat(dinps) : undefined, dweight };
}

/** 0 or 1/(1 - rate) for each element, computed on the host: the generator's integer arithmetic is not TensorFlow.js's. */
export function dropoutFactors(dropout: Dropout, samples: number, perSample: number): Float32Array {
  const factors = new Float32Array(samples * perSample);
  const { rate } = dropout;
  const kept = 1 / (1 - rate);
  forEachSampleKey(dropout, samples, (key, sample) => {
    const start = sample * perSample;
    for (let i = 0; i < perSample; i++) factors[start + i] = randomUniform(key, i) >= rate ? kept : 0;
  });
  return factors;
}

/** Sums of squares of the rows of a matrix or of a vector's one row, to be added up in float64. */
export function rowSquares({ tf }: Ops, x: TfTensor): TfTensor {
  return tf.sum(tf.square(tf.reshape(x, [-1, x.shape.at(-1) ?? 1])), 1);
}

type AdamwTensors = Record<'param' | 'grad' | 'm' | 'v', TfTensor>;
type AdamwSettings = Pick<AdamwOptions, 'learningRate' | 'beta1' | 'beta2' | 'eps' | 'step' | 'gradScale'>;

/** The updated parameter and moments. */
export function adamw({ tf }: Ops, old: AdamwTensors, options: AdamwSettings & { weightDecay: number }) {
  const { learningRate, beta1, beta2, eps, weightDecay, step, gradScale } = options;
  const grad = tf.mul(old.grad, gradScale);
  const m = tf.add(tf.mul(old.m, beta1), tf.mul(grad, 1 - beta1));
  const v = tf.add(tf.mul(old.v, beta2), tf.mul(tf.square(grad), 1 - beta2));
  const denominator = tf.add(tf.mul(tf.sqrt(v), 1 / Math.sqrt(1 - beta2 ** step)), eps);
  const update = tf.mul(tf.div(m, denominator), learningRate / (1 - beta1 ** step));
  return { param: tf.sub(tf.mul(old.param, 1 - learningRate * weightDecay), update), m, v };
}

/** The average of a parameter, with the weight of its new value. */
export function averaged({ tf }: Ops, average: TfTensor, param: TfTensor, weight: number): TfTensor {
  return tf.add(tf.mul(average, 1 - weight), tf.mul(param, weight));
}

/** The matrix with `part` from a row and a column on. */
export function withPart(ops: Ops, whole: TfTensor, part: TfTensor, [row, column]: [number, number]): TfTensor {
  const [height, width] = whole.shape as [number, number];
  const [rows, columns] = part.shape as [number, number];
  const of = (from: [number, number], size: [number, number]) => ops.tf.slice(whole, from, size);
  const right = column + columns;
  const pieces = [of([row, 0], [rows, column]), part, of([row, right], [rows, width - right])];
  const below = row + rows;
  const middle = joined(ops, pieces, 1);
  return joined(ops, [of([0, 0], [row, width]), middle, of([below, 0], [height - below, width])], 0);
}

/** One after another along an axis, without those that are empty. */
function joined({ tf }: Ops, pieces: readonly TfTensor[], axis: number): TfTensor {
  const some = pieces.filter(({ size }) => size > 0);
  return some.length === 1 ? some[0]! : tf.concat(some, axis);
}
