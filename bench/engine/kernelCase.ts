import type { Engine } from '../../src/engine/engine.ts';
import type { EnginePrecision } from '../../src/engine/precision.ts';
import type { Tensor } from '../../src/engine/tensor.ts';
import type { Product } from './productPeers.ts';

/** Makes a tensor that is released after the case. */
export type MakeTensor = (...shape: number[]) => Tensor;

export interface PreparedCase {
  /** What is timed. */
  readonly call: () => void;
  /** For a product: its result after the first call. */
  readonly result?: Tensor;
}

/** Values in [-scale / 2, scale / 2) from a short cycle. A kernel takes the same time for all such values, but could be faster with zeros or slower with denormals. */
export function cycledValues(size: number, scale = 1): Float32Array {
  return Float32Array.from({ length: size }, (_, i) => (((i * 7919) % 8191) / 8191 - 0.5) * scale);
}

/** One kernel at one shape. */
export interface KernelCase {
  readonly name: string;
  readonly shape: string;
  readonly flops?: number;
  /** In what precision they are, which has its own limit; absent: float32. An engine without a limit for it does not have the case. */
  readonly precision?: EnginePrecision;
  /** Read and written, each array once. */
  readonly bytes?: number;
  /** The same work for other libraries. */
  readonly product?: Product;
  readonly prepare: (engine: Engine, tensor: MakeTensor, bf16Tensor: MakeTensor) => PreparedCase;
}
