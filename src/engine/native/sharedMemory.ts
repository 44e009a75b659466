/**
 * The memory of the native engine: arrays on SharedArrayBuffers that start at a multiple of 64 bytes (a cache line, a vector).
 * Released blocks are kept by size and used again, so that a training step after the first allocates nothing.
 */
import { InvariantError } from '../../base/errors.ts';
import type { DType, EngineMemory, Shape, Tensor, TensorGroup } from '../engine.ts';

const LINE_BYTES = 64;
const LINE_FLOATS = LINE_BYTES / 4;

/** A tensor in the host's memory. */
export class NativeTensor implements Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly size: number;
  readonly data: Float32Array | Int32Array;
  /** The pooled block it lies in; undefined once released, and for a tensor of a group. */
  block: Block | undefined;

  constructor(shape: Shape, data: Float32Array | Int32Array, block?: Block) {
    this.shape = shape;
    this.dtype = data instanceof Int32Array ? 'int32' : 'float32';
    this.size = data.length;
    this.data = data;
    this.block = block;
  }
}

export class NativeTensorGroup implements TensorGroup {
  readonly tensors: readonly NativeTensor[];
  readonly offsets: readonly number[];
  readonly length: number;
  readonly data: Float32Array;

  constructor(tensors: readonly NativeTensor[], offsets: readonly number[], data: Float32Array) {
    this.tensors = tensors;
    this.offsets = offsets;
    this.length = data.length;
    this.data = data;
  }
}

/** A whole number of cache lines. */
interface Block {
  readonly buffer: SharedArrayBuffer;
  readonly byteOffset: number;
  readonly bytes: number;
}

export function sizeOfShape(shape: Shape): number {
  let size = 1;
  for (const extent of shape) {
    if (!Number.isInteger(extent) || extent < 1) {
      throw new InvariantError(`a tensor's extents must be integers of at least 1, but its shape is [${shape}]`);
    }
    size *= extent;
  }
  return size;
}

export class SharedMemory {
  readonly #misalignment: (array: Float32Array) => number;
  readonly #pool = new Map<number, Block[]>();
  #bytesInUse = 0;
  #bytesPooled = 0;
  #bytesPeak = 0;

  /** `misalignment` says how many bytes an array's start is before the next multiple of 64. */
  constructor(misalignment: (array: Float32Array) => number) {
    this.#misalignment = misalignment;
  }

  alloc(shape: Shape, dtype: DType): NativeTensor {
    const size = sizeOfShape(shape);
    const bytes = Math.ceil(size / LINE_FLOATS) * LINE_BYTES;
    const block = this.#pool.get(bytes)?.pop();
    if (block) this.#bytesPooled -= bytes;
    const taken = block ?? this.#newBlock(bytes);
    this.#use(bytes);
    const data =
      dtype === 'int32'
        ? new Int32Array(taken.buffer, taken.byteOffset, size)
        : new Float32Array(taken.buffer, taken.byteOffset, size);
    return new NativeTensor([...shape], data, taken);
  }

  release(tensor: NativeTensor): void {
    const block = tensor.block;
    if (!block) throw new InvariantError(`a tensor [${tensor.shape}] was released twice, or belongs to a group`);
    tensor.block = undefined;
    const pooled = this.#pool.get(block.bytes);
    if (pooled) pooled.push(block);
    else this.#pool.set(block.bytes, [block]);
    this.#bytesInUse -= block.bytes;
    this.#bytesPooled += block.bytes;
  }

  /** Zero-filled tensors one after another, each on its own cache lines. */
  allocGroup(shapes: readonly Shape[]): NativeTensorGroup {
    const offsets: number[] = [];
    let length = 0;
    for (const shape of shapes) {
      offsets.push(length);
      length += Math.ceil(sizeOfShape(shape) / LINE_FLOATS) * LINE_FLOATS;
    }
    const { buffer, byteOffset, bytes } = this.#newBlock(length * 4);
    this.#use(bytes);
    const tensors = shapes.map((shape, i) => {
      const data = new Float32Array(buffer, byteOffset + offsets[i]! * 4, sizeOfShape(shape));
      return new NativeTensor([...shape], data);
    });
    return new NativeTensorGroup(tensors, offsets, new Float32Array(buffer, byteOffset, length));
  }

  memory(): EngineMemory {
    return { bytesInUse: this.#bytesInUse, bytesPooled: this.#bytesPooled, bytesPeak: this.#bytesPeak };
  }

  /** Forgets every block; those still referred to live on until the garbage collector finds them. */
  clear(): void {
    this.#pool.clear();
    this.#bytesInUse = 0;
    this.#bytesPooled = 0;
  }

  #newBlock(bytes: number): Block {
    const buffer = new SharedArrayBuffer(bytes + LINE_BYTES);
    return { buffer, byteOffset: this.#misalignment(new Float32Array(buffer)), bytes };
  }

  #use(bytes: number): void {
    this.#bytesInUse += bytes;
    this.#bytesPeak = Math.max(this.#bytesPeak, this.#bytesInUse + this.#bytesPooled);
  }
}
