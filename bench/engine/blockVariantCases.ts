/** The kernels that blocks like Llama's have and GPT-2's do not, in both precisions. All are bound by memory. */
import { rotaryTable } from '../../src/architecture/rotaryTable.ts';
import type { KernelCase } from './kernelCase.ts';

/** N rows of C channels, as sequences of T tokens. */
interface BlockShape {
  readonly n: number;
  readonly t: number;
  readonly c: number;
  /** Heads of queries and keys, which are rotated, and of values. */
  readonly rotated: number;
  readonly valueHeads: number;
  readonly headSize: number;
  /** I: numbers after the gate. */
  readonly inner: number;
}

const shapes: readonly BlockShape[] = [
  { n: 4096, t: 256, c: 384, rotated: 12, valueHeads: 6, headSize: 64, inner: 1024 }, // shakespeare-gpt's sizes
  { n: 2048, t: 1024, c: 576, rotated: 12, valueHeads: 3, headSize: 64, inner: 1536 }, // those of SmolLM2-135M
];

export function blockVariantCases(): KernelCase[] {
  const ofPrecision = (shape: BlockShape, precision: 'float32' | 'bf16') =>
    casesOf(shape, precision === 'bf16').map((kernel) => ({ ...kernel, precision }));
  return shapes.flatMap((shape) => [...ofPrecision(shape, 'float32'), ...ofPrecision(shape, 'bf16')]);
}

function casesOf({ n, t, c, rotated, valueHeads, headSize, inner }: BlockShape, bf16: boolean): KernelCase[] {
  const suffix = bf16 ? ' bf16' : '';
  const bytes = bf16 ? 2 : 4;
  const width = (rotated + valueHeads) * headSize;
  return [
    {
      name: `rmsNormForward${suffix}`,
      shape: `${n}×${c}`,
      bytes: (4 + bytes) * n * c,
      prepare: (engine, tensor, bf16Tensor) => {
        const out = (bf16 ? bf16Tensor : tensor)(n, c);
        const options = { inp: tensor(n, c), out, rstd: tensor(n), weight: tensor(c), eps: 1e-5 };
        return { call: () => engine.rmsNormForward(options) };
      },
    },
    {
      name: `rmsNormBackward${suffix}`,
      shape: `${n}×${c}`,
      bytes: (8 + bytes) * n * c,
      prepare: (engine, tensor, bf16Tensor) => {
        const dout = (bf16 ? bf16Tensor : tensor)(n, c);
        const parameters = { weight: tensor(c), dweight: tensor(c) };
        const options = { inp: tensor(n, c), dout, dinp: tensor(n, c), rstd: tensor(n), ...parameters };
        return { call: () => engine.rmsNormBackward(options) };
      },
    },
    {
      name: `rope${suffix}`,
      shape: `${n}×${width} ${rotated} heads of ${headSize}`,
      bytes: 2 * bytes * n * rotated * headSize,
      prepare: (engine, tensor, bf16Tensor) => {
        const table = tensor(t, 2, headSize / 2);
        engine.upload(table, rotaryTable(t, headSize, 10_000));
        const inp = (bf16 ? bf16Tensor : tensor)(n / t, t, width);
        return { call: () => engine.rope({ inp, out: inp, table, heads: rotated }) };
      },
    },
    {
      name: `gatedActivationForward silu${suffix}`,
      shape: `${n}×${inner}`,
      bytes: 3 * bytes * n * inner,
      prepare: (engine, tensor, bf16Tensor) => {
        const make = bf16 ? bf16Tensor : tensor;
        const [inp, out] = [make(n, 2 * inner), make(n, inner)];
        return { call: () => engine.gatedActivationForward({ kind: 'silu', inp, out }) };
      },
    },
    {
      name: `gatedActivationBackward silu${suffix}`,
      shape: `${n}×${inner}`,
      bytes: 5 * bytes * n * inner,
      prepare: (engine, tensor, bf16Tensor) => {
        const make = bf16 ? bf16Tensor : tensor;
        const [inp, dout, dinp] = [make(n, 2 * inner), make(n, inner), make(n, 2 * inner)];
        return { call: () => engine.gatedActivationBackward({ kind: 'silu', inp, dout, dinp }) };
      },
    },
  ];
}
