/** What `npm run bench -- engine` times: the native engine's kernels at the shapes of the shipped configs. */
import type { Tensor } from '../../src/engine/tensor.ts';
import { blockVariantCases } from './blockVariantCases.ts';
import type { KernelCase, MakeTensor } from './kernelCase.ts';
import { fusedCases, headCase, linearCases } from './productCases.ts';

/** The products of one shipped config: N rows of C channels. */
interface ModelShape {
  readonly rows: number;
  readonly t: number;
  readonly c: number;
  readonly nHead: number;
  readonly v: number;
}

const modelShapes: readonly ModelShape[] = [
  { rows: 768, t: 64, c: 128, nHead: 4, v: 65 }, // shakespeare-char
  { rows: 4096, t: 256, c: 384, nHead: 6, v: 65 }, // shakespeare-gpt
  { rows: 1024, t: 1024, c: 768, nHead: 12, v: 50257 }, // gpt-small
];

export function kernelCases(): KernelCase[] {
  return [...modelShapes.flatMap(casesOf), ...blockVariantCases()];
}

function casesOf({ rows, t, c, nHead, v }: ModelShape): KernelCase[] {
  return [
    ...linearCases({ n: rows, ic: c, oc: 3 * c, weightTransposed: false }),
    ...linearCases({ n: rows, ic: c, oc: c, weightTransposed: false }),
    ...linearCases({ n: rows, ic: c, oc: 4 * c, weightTransposed: false }),
    ...linearCases({ n: rows, ic: 4 * c, oc: c, weightTransposed: false }),
    ...linearCases({ n: rows, ic: c, oc: v, weightTransposed: true }),
    ...fusedCases(rows, c),
    headCase(rows, c, v),
    ...attentionCases(rows / t, t, c, nHead),
    ...rowCases(rows, c, v),
  ];
}

/** Forward and backward: plain, with dropout, and on bfloat16 tensors. */
function attentionCases(b: number, t: number, c: number, nHead: number): KernelCase[] {
  const shape = `B=${b} T=${t} NH=${nHead} HS=${c / nHead}`;
  const variants = [
    { suffix: '', rate: 0, precision: 'float32' },
    { suffix: ' dropout', rate: 0.2, precision: 'float32' },
    { suffix: ' bf16', rate: 0, precision: 'bf16' },
    { suffix: ' bf16 dropout', rate: 0.2, precision: 'bf16' },
  ] as const;
  // Two products of T×T/2 by HS a head forward; five backward, the scores being computed again.
  const product = b * t * t * c;
  return variants.flatMap(({ suffix, rate, precision }) => {
    const bf16 = precision === 'bf16';
    const dropout = { rate, seed: 1, step: 1, firstSample: 0, site: 0 };
    const optionsOf = (tensor: MakeTensor, lse: Tensor) => ({
      qkv: tensor(b, t, 3 * c),
      out: tensor(b, t, c),
      lse,
      nHead,
      ...(rate > 0 && { dropout }),
    });
    return [
      {
        name: `attentionForward${suffix}`,
        shape,
        flops: 2 * product,
        precision,
        prepare: (engine, tensor, bf16Tensor) => {
          const options = optionsOf(bf16 ? bf16Tensor : tensor, tensor(2, b, nHead, t));
          return { call: () => engine.attentionForward(options) };
        },
      },
      {
        name: `attentionBackward${suffix}`,
        shape,
        flops: 5 * product,
        precision,
        prepare: (engine, tensor, bf16Tensor) => {
          const make = bf16 ? bf16Tensor : tensor;
          const options = { ...optionsOf(make, tensor(2, b, nHead, t)), dout: make(b, t, c), dqkv: make(b, t, 3 * c) };
          engine.attentionForward(options);
          return { call: () => engine.attentionBackward(options) };
        },
      },
    ] satisfies KernelCase[];
  });
}

/** The kernels that are bound by memory, or nearly so. */
function rowCases(n: number, c: number, v: number): KernelCase[] {
  const wide = 4 * c;
  return [
    {
      name: 'layerNormForward',
      shape: `${n}×${c}`,
      bytes: 4 * 2 * n * c,
      prepare: (engine, tensor) => {
        const options = { inp: tensor(n, c), out: tensor(n, c), mean: tensor(n), rstd: tensor(n), eps: 1e-5 };
        const parameters = { weight: tensor(c), bias: tensor(c) };
        return { call: () => engine.layerNormForward({ ...options, ...parameters }) };
      },
    },
    {
      name: 'layerNormBackward',
      shape: `${n}×${c}`,
      bytes: 4 * 3 * n * c,
      prepare: (engine, tensor) => {
        const options = { inp: tensor(n, c), dout: tensor(n, c), dinp: tensor(n, c), mean: tensor(n), rstd: tensor(n) };
        const parameters = { weight: tensor(c), dweight: tensor(c), dbias: tensor(c) };
        return { call: () => engine.layerNormBackward({ ...options, ...parameters }) };
      },
    },
    {
      name: 'activationForward gelu',
      shape: `${n}×${wide}`,
      bytes: 4 * 2 * n * wide,
      prepare: (engine, tensor) => {
        const [inp, out] = [tensor(n, wide), tensor(n, wide)];
        return { call: () => engine.activationForward({ kind: 'gelu', inp, out }) };
      },
    },
    {
      name: 'activationBackward gelu',
      shape: `${n}×${wide}`,
      bytes: 4 * 3 * n * wide,
      prepare: (engine, tensor) => {
        const [inp, dout, dinp] = [tensor(n, wide), tensor(n, wide), tensor(n, wide)];
        return { call: () => engine.activationBackward({ kind: 'gelu', inp, dout, dinp }) };
      },
    },
    {
      name: 'dropout',
      shape: `${n}×${c}`,
      bytes: 4 * 2 * n * c,
      prepare: (engine, tensor) => {
        const [inp, out] = [tensor(1, n, c), tensor(1, n, c)];
        const dropout = { rate: 0.2, seed: 1, step: 1, firstSample: 0, site: 0 };
        return { call: () => engine.dropout({ inp, out, dropout }) };
      },
    },
    {
      name: 'crossEntropy',
      shape: `${n}×${v}`,
      bytes: 4 * 2 * n * v,
      prepare: (engine, tensor) => {
        const [logits, dlogits, losses] = [tensor(n, v), tensor(n, v), tensor(n)];
        const targets = engine.alloc([n], 'int32');
        engine.zero(targets);
        return { call: () => engine.crossEntropy({ logits, dlogits, losses, targets }) };
      },
    },
    {
      name: 'adamw',
      shape: `${12 * c * c}`,
      bytes: 4 * 7 * 12 * c * c,
      prepare: (engine) => {
        const size = 12 * c * c;
        const group = () => engine.allocGroup([[size]]);
        const groups = { params: group(), grads: group(), m: group(), v: group() };
        const rates = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: [0.1] };
        return { call: () => engine.adamw({ ...groups, ...rates, step: 1, gradScale: 1 }) };
      },
    },
  ];
}
