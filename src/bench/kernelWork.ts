/**
 * The work of one kernel call, computed from its options: floating-point operations of matrix products and attention, and bytes for all
 * kernels. Kernels without a rule of their own are measured by the size of their tensors.
 */
import { attentionShape } from '../engine/attentionOptions.ts';
import type { KernelOptions, Kernels } from '../engine/kernels.ts';
import type { LinearOptions } from '../engine/linearOptions.ts';
import type { EnginePrecision } from '../engine/precision.ts';
import { elementBytes, type Tensor, type TensorGroup } from '../engine/tensor.ts';

export interface KernelWork {
  /** Two per executed multiply-add; absent for memory-bound kernels. */
  readonly flops?: number;
  /** In what precision the operations are: each has its own limit. */
  readonly precision?: EnginePrecision;
  /** Bytes read and written: each tensor of the options once, unless `bytesOf` below is more precise. */
  readonly bytes: number;
}

type PerKernel = { readonly [K in keyof Kernels]?: (options: KernelOptions<K>) => number };

const flopsOf: PerKernel = {
  linearForward: productFlops,
  linearBackward: (options) => productFlops(options) * gradientsIn(options),
  linearCrossEntropy: (options) => productFlops(options) * (1 + gradientsIn(options)),
  // Two products of T×T/2 by HS per head; backward has five, because it recomputes the scores.
  attentionForward: (options) => 2 * attentionFlops(options),
  attentionBackward: (options) => 5 * attentionFlops(options),
};

const bytesOf: PerKernel = {
  // Only the rows that are looked up are read from the tables.
  embeddingForward: ({ out, wpe }) => (wpe ? 3 : 2) * tensorBytes(out),
  embeddingBackward: ({ dout, dwpe }) => (dwpe ? 5 : 3) * tensorBytes(dout),
  attentionDecode: ({ qkv, q, sequences }) => {
    const added = qkv?.shape.at(-2) ?? 0;
    const seen = sequences.map(({ keys, position }) => (position + added) * (tensorBytes(keys) / keys.shape[0]!));
    return 2 * tensorBytes(qkv ?? q) + 2 * seen.reduce((sum, bytes) => sum + bytes, 0);
  },
  // The gradients are read, and possibly zeroed; parameters, both moments and averages are read and written.
  adamw: ({ v, zeroGrads, average }) => 4 * ((zeroGrads ? 8 : 7) + (average ? 2 : 0)) * v.length,
  weightedSum: ({ rows, columns }) => 4 * 3 * rows * columns,
};

export function kernelWork(kernel: keyof Kernels, options: unknown): KernelWork {
  const flops = (flopsOf[kernel] as ((options: unknown) => number) | undefined)?.(options);
  const bytes = (bytesOf[kernel] as ((options: unknown) => number) | undefined)?.(options) ?? bytesIn(options);
  return { ...(flops !== undefined && { flops, precision: precisionOf(options) }), bytes };
}

/** The same rule as the engine's: what it is told, or the precision of the weight's other factor, or of the queries. */
function precisionOf(options: unknown): EnginePrecision {
  const { inp, dout, qkv, q } = options as Partial<Record<'inp' | 'dout' | 'qkv' | 'q', Tensor>>;
  if ((options as Partial<LinearOptions>).operands === 'float16') return 'f16';
  return [inp, dout, qkv, q].some((tensor) => tensor?.dtype === 'bfloat16') ? 'bf16' : 'float32';
}

/** The shapes that distinguish calls of a kernel: those of its largest tensors. */
export function kernelShape(options: unknown): string {
  const { inp, weight, qkv, q, kv, nHead, nKvHead, weightTransposed } = options as Partial<
    Record<string, Tensor & number>
  >;
  if (inp !== undefined && weight !== undefined && weight.shape.length === 2) {
    const ic = inp.shape.at(-1)!;
    return `${inp.size / ic}×${ic}×${weight.size / ic}${weightTransposed ? ' transposed' : ''}`;
  }
  const queries = qkv ?? q;
  if (queries !== undefined) {
    const shared = nKvHead === undefined || nKvHead === nHead ? '' : ` NKV ${nKvHead}`;
    const keys = kv === undefined ? '' : ` to ${kv.shape.join('×')}`;
    return `${queries.shape.join('×')}${keys} NH ${nHead}${shared}`;
  }
  const largest = tensorsIn(options).toSorted((a, b) => b.size - a.size)[0];
  return largest === undefined ? '' : largest.shape.join('×');
}

/** The number of products in backward. */
function gradientsIn({ dinp, dweight }: { readonly dinp?: Tensor; readonly dweight?: Tensor }): number {
  return Number(dinp !== undefined) + Number(dweight !== undefined);
}

/** N·IC·OC multiply-adds. */
function productFlops({ inp, weight }: LinearOptions): number {
  return (2 * inp.size * weight.size) / inp.shape.at(-1)!;
}

/** B·T·T·C: one product over the causal half of all heads' scores; or 2·B·Tq·Tk·C: over all of them, where queries have ranges of keys. */
function attentionFlops(options: KernelOptions<'attentionForward'>): number {
  const { b, tq, tk, c } = attentionShape(options);
  return (options.ends === undefined ? 1 : 2) * b * tq * tk * c;
}

function bytesIn(options: unknown): number {
  return tensorsIn(options).reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
}

function tensorBytes({ size, dtype }: Tensor): number {
  return elementBytes[dtype] * size;
}

/** Every tensor of the options, including nested ones; a group counts as one. */
function tensorsIn(value: unknown): Tensor[] {
  if (typeof value !== 'object' || value === null) return [];
  if (isTensor(value)) return [value];
  if (isGroup(value)) return [{ shape: [value.length], dtype: 'float32', size: value.length }];
  return Object.values(value).flatMap(tensorsIn);
}

function isTensor(value: object): value is Tensor {
  return 'shape' in value && 'dtype' in value && 'size' in value;
}

function isGroup(value: object): value is TensorGroup {
  return 'tensors' in value && 'offsets' in value && 'length' in value;
}
