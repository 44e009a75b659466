/**
 * The memory of the WebGPU engine. Each tensor has a buffer of its own: WebGPU refuses a call that reads one part of a buffer and
 * writes another. Released buffers serve later tensors of about their size, so a training step after the first takes no new memory.
 */
import { InvariantError, invariant, PeerError, UserError } from '../../base/errors.ts';
import { grouped } from '../../base/numberText.ts';
import type { EngineMemory } from '../device.ts';
import type { DType, Shape, Tensor, TensorGroup } from '../tensor.ts';
import { bufferUsage } from './constants.ts';

/** Where a binding may start, on any device: a multiple of this number of elements, 256 bytes. */
export const BINDING_ALIGNMENT = 64;

/** The device memory of one tensor, group or transfer. */
export interface DeviceBuffer {
  readonly gpu: GPUBuffer;
  /** Never used twice, for the cache of bind groups. */
  readonly id: number;
  readonly bytes: number;
  /** The last batch of commands that uses it. */
  batch: number;
}

/** A tensor on the GPU. */
export class GpuTensor implements Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly size: number;
  readonly buffer: DeviceBuffer;
  /** Where it starts in its buffer. */
  readonly byteOffset: number;
  /** Whether it has its buffer for itself, which the pool takes back; tensors of a group share one. */
  readonly isPooled: boolean;
  /** What was uploaded last to an int32 tensor: tokens and targets are checked and sorted on the host. */
  hostValues: Int32Array | undefined;
  /** Set when it is released: its buffer may be another tensor's. */
  isReleased = false;

  constructor(shape: Shape, dtype: DType, buffer: DeviceBuffer, groupOffset?: number) {
    this.shape = [...shape];
    this.dtype = dtype;
    this.size = sizeOfShape(shape);
    this.buffer = buffer;
    this.byteOffset = groupOffset ?? 0;
    this.isPooled = groupOffset === undefined;
  }
}

/** Tensors one after another in one buffer. */
export class GpuTensorGroup implements TensorGroup {
  readonly tensors: readonly GpuTensor[];
  readonly offsets: readonly number[];
  readonly length: number;
  readonly buffer: DeviceBuffer;
  /** The entire block as one tensor, padding included. */
  readonly block: GpuTensor;

  constructor(tensors: readonly GpuTensor[], offsets: readonly number[], length: number, buffer: DeviceBuffer) {
    this.tensors = tensors;
    this.offsets = offsets;
    this.length = length;
    this.buffer = buffer;
    this.block = new GpuTensor([Math.max(BINDING_ALIGNMENT, length)], 'float32', buffer, 0);
  }
}

/** The tensor as this engine's own; anything else is a bug of the caller. */
export function gpuTensor(tensor: Tensor, name = 'tensor'): GpuTensor {
  if (!(tensor instanceof GpuTensor)) throw new InvariantError(`${name} is not a tensor of the webgpu engine`);
  invariant(!tensor.isReleased, `${name}: a released tensor of shape [${tensor.shape.join(', ')}] was used`);
  return tensor;
}

/** What was uploaded to an int32 tensor. */
export function hostIntegers(tensor: GpuTensor, name: string): Int32Array {
  invariant(tensor.hostValues !== undefined, `${name}: expected an int32 tensor that was uploaded`);
  return tensor.hostValues;
}

/** The group as this engine's own. */
export function gpuGroup(group: TensorGroup): GpuTensorGroup {
  if (group instanceof GpuTensorGroup) return group;
  throw new InvariantError('not a tensor group of the webgpu engine');
}

function sizeOfShape(shape: Shape): number {
  for (const extent of shape) {
    invariant(
      Number.isInteger(extent) && extent >= 1,
      `a tensor's extents must be integers of at least 1, but its shape is [${shape}]`,
    );
  }
  return shape.reduce((size, extent) => size * extent, 1);
}

/** Pooled memory that is not worth freeing. */
const POOL_BYTES_MIN = 2 ** 26;

/** Buffers of a size class serve each other: eight classes per power of two, so at most an eighth of a buffer is unused. */
function classBytes(bytes: number): number {
  const step = Math.max(4 * BINDING_ALIGNMENT, 2 ** Math.max(0, Math.floor(Math.log2(bytes)) - 3));
  return Math.ceil(bytes / step) * step;
}

function keyOf({ gpu, bytes }: DeviceBuffer): string {
  return `${gpu.usage} ${bytes}`;
}

export class DeviceMemory {
  readonly #device: GPUDevice;
  readonly #watch: (ask: () => Promise<GPUError | null>, report: () => Error) => void;
  /** For messages about memory: what the device allows in one buffer. */
  readonly #bufferBytesMax: number;
  readonly #free = new Map<string, DeviceBuffer[]>();
  readonly #all = new Set<DeviceBuffer>();
  #nextId = 0;
  #bytesInUse = 0;
  #bytesInUsePeak = 0;
  #bytesHeld = 0;
  #bytesPeak = 0;
  #isClosed = false;

  /**
   * @param watch asks whether there was memory for a buffer, which is answered later, and reports this if there was none
   */
  constructor(device: GPUDevice, watch: (ask: () => Promise<GPUError | null>, report: () => Error) => void) {
    this.#device = device;
    this.#watch = watch;
    this.#bufferBytesMax = 4 * Math.floor(device.limits.maxBufferSize / 4);
  }

  alloc(shape: Shape, dtype: DType): GpuTensor {
    if (dtype === 'bfloat16') {
      throw new UserError('engine webgpu has no bfloat16: set engine.precision to float32, or engine.name to native');
    }
    const buffer = this.take(4 * sizeOfShape(shape));
    this.#count(buffer.bytes);
    return new GpuTensor(shape, dtype, buffer);
  }

  release(tensor: GpuTensor): void {
    invariant(
      tensor.isPooled && !tensor.isReleased,
      `a tensor [${tensor.shape}] was released twice, or belongs to a group`,
    );
    tensor.isReleased = true;
    this.#count(-tensor.buffer.bytes);
    this.give(tensor.buffer);
  }

  /** Zero-filled, as WebGPU makes every buffer; each tensor where a binding may start. */
  allocGroup(shapes: readonly Shape[]): GpuTensorGroup {
    const floats = BINDING_ALIGNMENT;
    const offsets: number[] = [];
    let length = 0;
    for (const shape of shapes) {
      offsets.push(length);
      length += Math.ceil(sizeOfShape(shape) / floats) * floats;
    }
    const buffer = this.#create(4 * Math.max(length, floats), bufferUsage.tensor);
    this.#count(buffer.bytes);
    const tensors = shapes.map((shape, i) => new GpuTensor(shape, 'float32', buffer, 4 * offsets[i]!));
    return new GpuTensorGroup(tensors, offsets, length, buffer);
  }

  /** A buffer of at least `bytes` with the given usage, from the pool; its contents are unspecified. */
  take(bytes: number, usage: number = bufferUsage.tensor): DeviceBuffer {
    const size = Math.max(bytes, Math.min(classBytes(bytes), this.#bufferBytesMax));
    return this.#free.get(`${usage} ${size}`)?.pop() ?? this.#create(size, usage);
  }

  /** Gives it back. Commands that were recorded with it run first, because the queue keeps their order. */
  give(buffer: DeviceBuffer): void {
    const key = keyOf(buffer);
    const free = this.#free.get(key);
    if (free === undefined) this.#free.set(key, [buffer]);
    else free.push(buffer);
  }

  /** Frees a buffer of `take` instead of keeping it. Commands with it have been submitted. */
  discard(buffer: DeviceBuffer): void {
    if (this.#isClosed) return; // it is free, and Dawn aborts a process that calls it while a thread ends
    this.#all.delete(buffer);
    this.#bytesHeld -= buffer.bytes;
    buffer.gpu.destroy();
  }

  /**
   * Frees the pooled buffers that were used longest ago, those of batches before `batch`, while more is pooled than tensors ever took: what
   * an evaluation with other shapes left, for example.
   */
  trim(batch: number): void {
    let excess = this.#bytesHeld - this.#bytesInUse - Math.max(POOL_BYTES_MIN, this.#bytesInUsePeak);
    if (excess <= 0) return;
    const idle = [...this.#free.values()].flat().filter((buffer) => buffer.batch < batch);
    for (const buffer of idle.sort((one, other) => one.batch - other.batch)) {
      if (excess <= 0) return;
      const free = this.#free.get(keyOf(buffer))!;
      free.splice(free.indexOf(buffer), 1);
      this.discard(buffer);
      excess -= buffer.bytes;
    }
  }

  memory(): EngineMemory {
    return {
      bytesInUse: this.#bytesInUse,
      bytesPooled: this.#bytesHeld - this.#bytesInUse,
      bytesPeak: this.#bytesPeak,
    };
  }

  /** Frees everything, at the end of the device. */
  close(): void {
    this.#isClosed = true;
    for (const { gpu } of this.#all) gpu.destroy();
    this.#all.clear();
    this.#free.clear();
    this.#bytesInUse = 0;
    this.#bytesHeld = 0;
  }

  #count(bytes: number): void {
    this.#bytesInUse += bytes;
    this.#bytesInUsePeak = Math.max(this.#bytesInUsePeak, this.#bytesInUse);
    this.#bytesPeak = Math.max(this.#bytesPeak, this.#bytesHeld);
  }

  #create(bytes: number, usage: number): DeviceBuffer {
    invariant(!this.#isClosed, 'the webgpu engine was used after its end');
    if (bytes > this.#bufferBytesMax) {
      throw new UserError(
        `a tensor of ${grouped(bytes)} bytes does not fit this GPU: its driver allows ${grouped(this.#bufferBytesMax)} in one ` +
          'buffer. Lower train.microBatchSize or the size of the model, or set engine.name to native',
      );
    }
    const held = this.#bytesHeld;
    this.#device.pushErrorScope('out-of-memory');
    const buffer = { gpu: this.#device.createBuffer({ size: bytes, usage }), id: this.#nextId++, bytes, batch: -1 };
    this.#watch(
      () => this.#device.popErrorScope(),
      () =>
        new PeerError(
          `the GPU has no memory for a tensor of ${grouped(bytes)} bytes: this worker already uses ${grouped(held)} bytes. Lower ` +
            'train.microBatchSize, model.blockSize or the size of the model, set train.activationRecompute to block, or end other programs ' +
            'on this GPU',
        ),
    );
    this.#all.add(buffer);
    this.#bytesHeld += bytes;
    this.#bytesPeak = Math.max(this.#bytesPeak, this.#bytesHeld);
    return buffer;
  }
}
