/** The contents of a device's memory: tensors, and groups of them. */

/** The type of a tensor's elements. */
export type DType = 'float32' | 'bfloat16' | 'int32';
export const elementBytes = { float32: 4, bfloat16: 2, int32: 4 } as const satisfies Record<DType, number>;
/** Contents on the host. A bfloat16 is the upper half of a float32, in a Uint16Array. */
export type HostArray = Float32Array | Uint16Array | Int32Array;
/** Sizes of the dimensions, outermost first. */
export type Shape = readonly number[];

/** A block of device memory with a shape. Only the engine that made it can read it. */
export interface Tensor {
  /** Sizes of the dimensions, outermost first. */
  readonly shape: Shape;
  /** The type of its elements. */
  readonly dtype: DType;
  /** Number of elements. */
  readonly size: number;
}

/** Several float32 tensors laid one after another in one block, so that a range of tensors is a range of numbers. */
export interface TensorGroup {
  /** In their order in the block. */
  readonly tensors: readonly Tensor[];
  /** Where each tensor starts in the block, in elements. Backends may pad between tensors; the padding is and stays 0. */
  readonly offsets: readonly number[];
  /** Number of elements in the entire block, including padding. */
  readonly length: number;
}
