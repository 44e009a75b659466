/**
 * How the tfjs engine holds mutable tensors over TensorFlow.js's immutable ones: a DeviceTensor has a shape and, once something
 * was written, the immutable tensor that is its contents now. Writing swaps that tensor and disposes of the old one.
 */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { invariant } from '../../base/errors.ts';
import { sizeOf } from '../../base/shape.ts';
import type { DType, Shape, Tensor } from '../tensor.ts';

/** What TensorFlow.js has of the engine's types. */
export type DeviceDType = Exclude<DType, 'bfloat16'>;

export class DeviceTensor implements Tensor {
  readonly shape: Shape;
  readonly dtype: DeviceDType;
  readonly size: number;
  /** The contents; undefined until the first write. */
  value: TfTensor | undefined;
  /** What was uploaded last to an int32 tensor, until something else is written: tokens and targets are wanted on the host too. */
  hostValues: Int32Array | undefined;
  /** What was copied to ranges of it, by their first elements, and is still on the host. */
  readonly parts = new Map<number, Float32Array>();
  released = false;

  constructor(shape: Shape, dtype: DeviceDType) {
    this.shape = [...shape];
    this.dtype = dtype;
    this.size = sizeOf(shape);
  }

  get bytes(): number {
    return 4 * this.size;
  }

  /** Takes ownership of `value`. */
  write(value: TfTensor): void {
    this.value?.dispose();
    this.value = value;
    this.hostValues = undefined;
    this.parts.clear();
  }

  dispose(): void {
    this.value?.dispose();
    this.value = undefined;
    this.hostValues = undefined;
    this.parts.clear();
    this.released = true;
  }
}

/** The tensor as this engine's own; anything else is a bug of the caller. */
export function deviceTensor(tensor: Tensor): DeviceTensor {
  invariant(tensor instanceof DeviceTensor, 'expected a tensor of the tfjs engine, received one of another engine');
  invariant(!tensor.released, `a released tensor of shape [${tensor.shape.join(', ')}] was used`);
  return tensor;
}

/** Throws unless the tensors have these sizes; `sizes` names them for the message. */
export function expectSizes(
  kernel: string,
  sizes: Readonly<Record<string, readonly [Tensor | undefined, number]>>,
): void {
  for (const [name, [tensor, size]] of Object.entries(sizes)) {
    if (tensor === undefined) continue;
    invariant(
      tensor.size === size,
      `${kernel}: expected ${name} to have ${size} elements, received the shape [${tensor.shape.join(', ')}]`,
    );
  }
}
