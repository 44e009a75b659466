import type { NativeEngine } from '../../src/engine/native/nativeEngine.ts';
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

/** One kernel at one shape. */
export interface KernelCase {
  readonly name: string;
  readonly shape: string;
  readonly flops?: number;
  /** Whether they are of bfloat16 numbers, whose limit is another. */
  readonly bf16?: boolean;
  /** Read and written, each array once. */
  readonly bytes?: number;
  /** The same work for other libraries. */
  readonly product?: Product;
  readonly prepare: (engine: NativeEngine, tensor: MakeTensor, bf16Tensor: MakeTensor) => PreparedCase;
}
