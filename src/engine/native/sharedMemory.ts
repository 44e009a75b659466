/**
 * The memory of the native engine: arrays on SharedArrayBuffers that start at a multiple of 64 bytes (a cache line, a vector).
 * Released blocks are kept by size and used again, so that a training step after the first allocates nothing. What is kept is
 * bounded: sizes that never come again (a context that grows token by token) make room for those that do.
 */
import { InvariantError, UserError } from '../../base/errors.ts';
import type { DType, EngineMemory, Shape, Tensor, TensorGroup } from '../engine.ts';

const LINE_BYTES = 64;
const LINE_FLOATS = LINE_BYTES / 4;
/**
 * Before a block is made, pooled ones are dropped until all together are at most so many times what was ever in use at once. One
 * shape of batch needs up to 1.5 (forward and backward take different sizes); a last microbatch that is smaller nearly that again.
 */
const KEPT_PER_PEAK = 3;
/** Below this nothing is dropped. */
const KEPT_BYTES_MIN = 1 << 24;

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
  /** By size in bytes, the size released last at the end. */
  readonly #pool = new Map<number, Block[]>();
  #bytesInUse = 0;
  #bytesPooled = 0;
  #bytesPeak = 0;
  /** Of what is in use, that of groups, which live to the end. */
  #bytesOfGroups = 0;
  /** The most that tensors outside of groups ever used at once. */
  #tensorBytesPeak = 0;

  /** `misalignment` says how many bytes an array's start is before the next multiple of 64. */
  constructor(misalignment: (array: Float32Array) => number) {
    this.#misalignment = misalignment;
  }

  alloc(shape: Shape, dtype: DType): NativeTensor {
    const size = sizeOfShape(shape);
    const bytes = Math.ceil(size / LINE_FLOATS) * LINE_BYTES;
    const block = this.#pool.get(bytes)?.pop();
    if (block) this.#bytesPooled -= bytes;
    else this.#makeRoom(bytes);
    const taken = block ?? newBlock(bytes, this.#misalignment);
    this.#use(bytes);
    this.#tensorBytesPeak = Math.max(this.#tensorBytesPeak, this.#bytesInUse - this.#bytesOfGroups);
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
    const pooled = this.#pool.get(block.bytes) ?? [];
    pooled.push(block);
    this.#pool.delete(block.bytes); // to the end
    this.#pool.set(block.bytes, pooled);
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
    const { buffer, byteOffset, bytes } = newBlock(length * 4, this.#misalignment);
    this.#use(bytes);
    this.#bytesOfGroups += bytes;
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
    this.#bytesOfGroups = 0;
  }

  /** Drops pooled blocks, those of the size released longest ago first, before one of `bytes` is made. */
  #makeRoom(bytes: number): void {
    const inUse = this.#bytesInUse - this.#bytesOfGroups + bytes;
    const most = Math.max(KEPT_PER_PEAK * Math.max(inUse, this.#tensorBytesPeak), KEPT_BYTES_MIN);
    for (const [size, blocks] of this.#pool) {
      while (blocks.length > 0 && inUse + this.#bytesPooled > most) {
        blocks.pop();
        this.#bytesPooled -= size;
      }
      if (blocks.length > 0) return;
      this.#pool.delete(size);
    }
  }

  #use(bytes: number): void {
    this.#bytesInUse += bytes;
    this.#bytesPeak = Math.max(this.#bytesPeak, this.#bytesInUse + this.#bytesPooled);
  }
}

function newBlock(bytes: number, misalignment: (array: Float32Array) => number): Block {
  let buffer: SharedArrayBuffer;
  try {
    buffer = new SharedArrayBuffer(bytes + LINE_BYTES);
  } catch {
    throw new UserError(
      `engine native: the system has no ${Math.ceil(bytes / 2 ** 20).toLocaleString('en')} MiB more memory. Use a smaller model, ` +
        'a smaller train.microBatchSize or fewer workers (--dry-run shows what a run needs).',
    );
  }
  return { buffer, byteOffset: misalignment(new Float32Array(buffer)), bytes };
}
