/**
 * One open device as kernels see it: the operations of TensorFlow.js, and the engine's tensors as values of these. It knows no formulas
 * (math.ts, attentionMath.ts), and tensorStore.ts has the memory.
 */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { lastExtent, sizeOf } from '../../base/shape.ts';
import { type Documents, expectStarts } from '../documents.ts';
import type { Dropout } from '../dropout.ts';
import type { Shape, Tensor } from '../tensor.ts';
import type { TfjsBackend } from './backends.ts';
import { deviceTensor, expectSizes } from './deviceTensor.ts';
import * as math from './math.ts';
import { TensorStore } from './tensorStore.ts';

export class TfjsDevice {
  readonly ops: math.Ops;
  readonly store: TensorStore;
  private readonly backend: TfjsBackend;

  constructor(backend: TfjsBackend) {
    this.ops = { tf: backend.tf, plainMatMulOnly: backend.deviceKind === 'wasm' };
    this.store = new TensorStore(backend);
    this.backend = backend;
  }

  /** Makes it the device of the next operations; `write` does. */
  activate(): void {
    this.backend.activate();
  }

  /** Runs a kernel and makes its results the contents of `outs`. */
  write(outs: readonly Tensor[], kernel: () => TfTensor[]): void {
    this.store.write(outs.map(deviceTensor), kernel);
  }

  /** The same for outputs of which some are not wanted: the results in their places are undefined too. */
  writeWanted(outs: readonly (Tensor | undefined)[], kernel: () => readonly (TfTensor | undefined)[]): void {
    this.write(present(outs), () => present(kernel()));
  }

  read(tensor: Tensor): TfTensor {
    return this.store.read(deviceTensor(tensor));
  }

  readOptional(tensor: Tensor | undefined): TfTensor | undefined {
    return tensor === undefined ? undefined : this.read(tensor);
  }

  /** As a matrix: leading dimensions flattened. */
  rows(tensor: Tensor): TfTensor {
    return this.ops.tf.reshape(this.read(tensor), [-1, lastExtent(tensor)]);
  }

  /** The value, added to what `into` has if the kernel accumulates. */
  accumulated(into: Tensor, value: TfTensor, accumulate: boolean | undefined): TfTensor {
    if (accumulate !== true) return value;
    return this.ops.tf.add(this.read(into), this.ops.tf.reshape(value, [...into.shape]));
  }

  dropoutFactors(dropout: Dropout, samples: number, shape: Shape): TfTensor {
    return this.ops.tf.tensor(math.dropoutFactors(dropout, samples, sizeOf(shape) / samples), [...shape]);
  }

  /** Token ids or targets, on the host. */
  hostIntegers(tensor: Tensor): Int32Array {
    return this.store.hostIntegers(deviceTensor(tensor));
  }

  /** The starts of documents of samples [B, T, ...], or null. */
  startsOf(kernel: string, { starts }: Documents, samples: Tensor): Int32Array | null {
    if (starts === undefined) return null;
    const [b = 0, t = 0] = samples.shape;
    expectSizes(kernel, { starts: [starts, b * t] });
    const values = this.hostIntegers(starts);
    expectStarts(kernel, values, t);
    return values;
  }
}

/** The values that are present. */
function present<T>(values: readonly (T | undefined)[]): T[] {
  return values.filter((value) => value !== undefined);
}
