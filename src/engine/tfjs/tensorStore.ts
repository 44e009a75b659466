/**
 * The tensors of one tfjs engine: allocation, transfers, and the one place where results of TensorFlow.js operations become
 * contents. Every intermediate of a kernel is freed when the kernel ends, and every tensor is counted.
 */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { invariant, UserError } from '../../base/errors.ts';
import type { DType, EngineMemory, HostArray, Shape, TensorGroup } from '../engine.ts';
import type { TfjsBackend } from './backends.ts';
import { DeviceTensor } from './deviceTensor.ts';

export class TensorStore {
  private readonly backend: TfjsBackend;
  private readonly live = new Set<DeviceTensor>();
  private bytesInUse = 0;
  private bytesPeak = 0;

  constructor(backend: TfjsBackend) {
    this.backend = backend;
  }

  alloc(shape: Shape, dtype: DType): DeviceTensor {
    if (dtype === 'bfloat16') {
      throw new UserError('engine tfjs has no bfloat16: set engine.precision to float32, or engine.name to native');
    }
    const tensor = new DeviceTensor(shape, dtype);
    this.live.add(tensor);
    this.bytesInUse += tensor.bytes;
    this.bytesPeak = Math.max(this.bytesPeak, this.bytesInUse);
    return tensor;
  }

  /** One after another without padding; the block is an arithmetic one, for each tensor has its own memory. */
  allocGroup(shapes: readonly Shape[]): TensorGroup {
    const tensors = shapes.map((shape) => this.alloc(shape, 'float32'));
    const offsets: number[] = [];
    let length = 0;
    for (const tensor of tensors) {
      offsets.push(length);
      length += tensor.size;
    }
    return { tensors, offsets, length };
  }

  release(tensor: DeviceTensor): void {
    invariant(this.live.delete(tensor), 'a tensor of another tfjs engine was released');
    this.bytesInUse -= tensor.bytes;
    tensor.dispose();
  }

  disposeAll(): void {
    for (const tensor of [...this.live]) this.release(tensor);
  }

  upload(tensor: DeviceTensor, data: HostArray): void {
    const expected = tensor.dtype === 'int32' ? Int32Array : Float32Array;
    invariant(data instanceof expected, `upload: expected a ${expected.name} for a tensor of ${tensor.dtype}`);
    invariant(
      data.length === tensor.size,
      `upload: expected ${tensor.size} numbers for [${tensor.shape.join(', ')}], received ${data.length}`,
    );
    this.backend.activate();
    // TensorFlow.js may keep the array it is given, and the caller may reuse it.
    const copy = data.slice();
    tensor.write(this.backend.tf.tensor(copy, [...tensor.shape], tensor.dtype));
    if (copy instanceof Int32Array) tensor.hostValues = copy;
  }

  async download(tensor: DeviceTensor, into: HostArray): Promise<void> {
    invariant(
      into.length === tensor.size,
      `download: expected room for ${tensor.size} numbers, received an array of ${into.length}`,
    );
    this.backend.activate();
    // Another handle on the contents: they are read though the tensor is written or released meanwhile.
    const snapshot = this.backend.tf.clone(this.read(tensor));
    try {
      into.set(await snapshot.data<'float32'>());
    } finally {
      snapshot.dispose();
    }
  }

  /** The contents; zeros if nothing was written yet. */
  read(tensor: DeviceTensor): TfTensor {
    if (tensor.value === undefined) {
      const { tf } = this.backend;
      tensor.write(tf.keep(tf.zeros([...tensor.shape], tensor.dtype)));
    }
    return tensor.value!;
  }

  /** What was uploaded to an int32 tensor. */
  hostIntegers(tensor: DeviceTensor): Int32Array {
    invariant(tensor.hostValues !== undefined, 'expected an int32 tensor that was uploaded');
    return tensor.hostValues;
  }

  /** Runs a kernel; its results, in the order of `outs`, become their contents once all are computed. */
  write(outs: readonly DeviceTensor[], kernel: () => TfTensor[]): void {
    const { tf } = this.backend;
    this.backend.activate();
    const before = tf.memory().numBytes;
    const results = tf.tidy(() => {
      const computed = kernel().map((result, i) => tf.reshape(result, [...outs[i]!.shape]));
      this.bytesPeak = Math.max(this.bytesPeak, this.bytesInUse + tf.memory().numBytes - before);
      return computed;
    });
    invariant(
      results.length === outs.length,
      `expected ${outs.length} results of a kernel, received ${results.length}`,
    );
    outs.forEach((out, i) => {
      out.write(results[i]!);
    });
  }

  memory(): EngineMemory {
    return { bytesInUse: this.bytesInUse, bytesPooled: this.bytesPooled(), bytesPeak: this.bytesPeak };
  }

  /** Buffers that the GPU backend holds for re-use, for all engines of the thread; the others have no pool. */
  private bytesPooled(): number {
    const memory = this.backend.tf.memory() as { numBytesInGPU?: number; numBytesAllocatedInGPU?: number };
    return (memory.numBytesAllocatedInGPU ?? 0) - (memory.numBytesInGPU ?? 0);
  }
}
