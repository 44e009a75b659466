/**
 * What one call of a kernel has to do, worked out from the options that it is called with: floating-point operations of matrix
 * products and attention, bytes of all kernels. A kernel that is not named here is covered too, by the size of its tensors.
 */
import type { KernelOptions, Kernels, LinearOptions } from '../engine/kernels.ts';
import { elementBytes, type Tensor, type TensorGroup } from '../engine/tensor.ts';

export interface KernelWork {
  /** Two for each multiply-add that is executed; absent for kernels that are bound by memory. */
  readonly flops?: number;
  /** Whether they are of bfloat16 numbers, whose limit is another. */
  readonly bf16?: boolean;
  /** Read and written: each tensor of the options once, unless `bytesOf` below knows better. */
  readonly bytes: number;
}

type PerKernel = { readonly [K in keyof Kernels]?: (options: KernelOptions<K>) => number };

const flopsOf: PerKernel = {
  linearForward: productFlops,
  linearBackward: (options) => productFlops(options) * gradientsIn(options),
  linearCrossEntropy: (options) => productFlops(options) * (1 + gradientsIn(options)),
  // Two products of T×T/2 by HS a head; backward five, the scores being computed again.
  attentionForward: (options) => 2 * attentionFlops(options),
  attentionBackward: (options) => 5 * attentionFlops(options),
};

const bytesOf: PerKernel = {
  // Of the tables only the rows that are looked up.
  embeddingForward: ({ out, wpe }) => (wpe ? 3 : 2) * tensorBytes(out),
  embeddingBackward: ({ dout, dwpe }) => (dwpe ? 5 : 3) * tensorBytes(dout),
  attentionDecode: ({ qkv, sequences }) => {
    const time = qkv.shape.at(-2)!;
    const seen = sequences.map(({ keys, position }) => (position + time) * (tensorBytes(keys) / keys.shape[0]!));
    return 2 * tensorBytes(qkv) + 2 * seen.reduce((sum, bytes) => sum + bytes, 0);
  },
  // The gradients are read, and zeroed perhaps; parameters and both moments are read and written.
  adamw: ({ params, zeroGrads }) => 4 * (zeroGrads ? 8 : 7) * params.length,
};

export function kernelWork(kernel: keyof Kernels, options: unknown): KernelWork {
  const flops = (flopsOf[kernel] as ((options: unknown) => number) | undefined)?.(options);
  const bytes = (bytesOf[kernel] as ((options: unknown) => number) | undefined)?.(options) ?? bytesIn(options);
  return { ...(flops !== undefined && { flops, bf16: isOfBf16(options) }), bytes };
}

/** As the engine decides it: by what is multiplied with the weight, or by the queries. */
function isOfBf16(options: unknown): boolean {
  const { inp, dout, qkv } = options as Partial<Record<'inp' | 'dout' | 'qkv', Tensor>>;
  return [inp, dout, qkv].some((tensor) => tensor?.dtype === 'bfloat16');
}

/** The shapes that tell one call of a kernel from another: those of its largest tensors. */
export function kernelShape(options: unknown): string {
  const { inp, weight, qkv, nHead, weightTransposed } = options as Partial<Record<string, Tensor & number>>;
  if (inp !== undefined && weight !== undefined && weight.shape.length === 2) {
    const ic = inp.shape.at(-1)!;
    return `${inp.size / ic}×${ic}×${weight.size / ic}${weightTransposed ? ' transposed' : ''}`;
  }
  if (qkv !== undefined) return `${qkv.shape.join('×')} NH ${nHead}`;
  const largest = tensorsIn(options).toSorted((a, b) => b.size - a.size)[0];
  return largest === undefined ? '' : largest.shape.join('×');
}

/** How many products backward needs. */
function gradientsIn({ dinp, dweight }: { readonly dinp?: Tensor; readonly dweight?: Tensor }): number {
  return Number(dinp !== undefined) + Number(dweight !== undefined);
}

/** N·IC·OC multiply-adds. */
function productFlops({ inp, weight }: LinearOptions): number {
  return (2 * inp.size * weight.size) / inp.shape.at(-1)!;
}

/** B·T·T·C: one product of the causal half of all heads' scores. */
function attentionFlops({ qkv, lse }: { qkv: Tensor; lse: Tensor }): number {
  return (qkv.size / 3) * lse.shape.at(-1)!;
}

function bytesIn(options: unknown): number {
  return tensorsIn(options).reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
}

function tensorBytes({ size, dtype }: Tensor): number {
  return elementBytes[dtype] * size;
}

/** Every tensor of the options, also inside of other objects; a group is one of them. */
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
