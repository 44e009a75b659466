/**
 * The tensors of one tfjs engine: allocation, transfers, and the one place where results of TensorFlow.js operations become
 * contents. Every intermediate of a kernel is freed when the kernel ends, and every tensor is counted.
 */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { invariant, UserError } from '../../base/errors.ts';
import type { EngineMemory } from '../device.ts';
import { checkGroupRange } from '../groupRange.ts';
import type { DType, HostArray, Shape, TensorGroup } from '../tensor.ts';
import type { TfjsBackend } from './backends.ts';
import { DeviceTensor, deviceTensor } from './deviceTensor.ts';

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

  /**
   * Copies a range of a group out: the tensors' contents as they are now. Within the call where kernels run within theirs
   * (undefined), else beside what follows.
   */
  copyOut(group: TensorGroup, from: number, to: number, into: Float32Array): Promise<void> | undefined {
    checkGroupRange('copyOut', group, from, to, into);
    const { tf, isAsynchronous } = this.backend;
    this.backend.activate();
    const pieces = piecesOf(group, from, to).map(({ tensor, first, last, at }) => {
      const contents = tf.tidy(() => tf.slice(tf.reshape(this.read(tensor), [-1]), [first], [last - first]));
      return { contents, at };
    });
    const dispose = (): void => {
      for (const { contents } of pieces) contents.dispose();
    };
    if (isAsynchronous) {
      const copies = pieces.map(async ({ contents, at }) => into.set(await contents.data<'float32'>(), at));
      return Promise.all(copies)
        .then(() => undefined)
        .finally(dispose);
    }
    for (const { contents, at } of pieces) into.set(contents.dataSync<'float32'>(), at);
    dispose();
    return undefined;
  }

  /** The inverse. Parts of a tensor wait until it is read or the device is waited for: then all become contents at once. */
  copyIn(group: TensorGroup, from: number, to: number, data: Float32Array): void {
    checkGroupRange('copyIn', group, from, to, data);
    for (const { tensor, first, last, at } of piecesOf(group, from, to)) {
      const part = data.subarray(at, at + last - first);
      if (part.length === tensor.size) this.upload(tensor, part);
      else {
        const overlaps = [...tensor.parts].some(([other, { length }]) => other < last && first < other + length);
        if (overlaps) this.read(tensor);
        tensor.parts.set(first, part);
      }
    }
  }

  /** Takes over what `copyIn` has left on the host. */
  settle(): void {
    for (const tensor of this.live) if (tensor.parts.size > 0) this.read(tensor);
  }

  /** The contents; zeros if nothing was written yet. */
  read(tensor: DeviceTensor): TfTensor {
    const { tf } = this.backend;
    if (tensor.value === undefined && tensor.parts.size === 0) {
      tensor.write(tf.keep(tf.zeros([...tensor.shape], tensor.dtype)));
    } else if (tensor.parts.size > 0) {
      this.backend.activate();
      tensor.write(tf.keep(tf.tidy(() => this.joined(tensor))));
    }
    return tensor.value!;
  }

  /** The parts of a tensor, and between them what it held. */
  private joined({ shape, size, value, parts }: DeviceTensor): TfTensor {
    const { tf } = this.backend;
    const old = tf.reshape(value ?? tf.zeros([size]), [-1]);
    const pieces: TfTensor[] = [];
    let at = 0;
    for (const [first, data] of [...parts].sort(([one], [other]) => one - other)) {
      if (first > at) pieces.push(tf.slice(old, [at], [first - at]));
      pieces.push(tf.tensor1d(Float32Array.from(data)));
      at = first + data.length;
    }
    if (at < size) pieces.push(tf.slice(old, [at], [size - at]));
    return tf.reshape(tf.concat(pieces), [...shape]);
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

/** Elements [first, last) of a tensor of a group, and where in a range of the group they begin. */
interface Piece {
  readonly tensor: DeviceTensor;
  readonly first: number;
  readonly last: number;
  readonly at: number;
}

/** The contents of elements [from, to) of a group. */
function piecesOf({ tensors, offsets }: TensorGroup, from: number, to: number): Piece[] {
  return tensors.flatMap((tensor, i) => {
    const offset = offsets[i]!;
    const [first, last] = [Math.max(0, from - offset), Math.min(tensor.size, to - offset)];
    return first < last ? [{ tensor: deviceTensor(tensor), first, last, at: offset + first - from }] : [];
  });
}
