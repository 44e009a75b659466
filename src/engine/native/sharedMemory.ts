/**
 * The memory of the native engine: arrays on SharedArrayBuffers that start at a multiple of 64 bytes (a cache line, a vector).
 * Tensors share a few big slabs (arena.ts): what forward has released serves backward, and a training step after the first
 * takes no new memory and finds its tensors at the same addresses. The system gives a slab its memory page by page as it is first
 * written to, so what a slab has beyond the most that was ever in use costs nothing.
 */
import { InvariantError, UserError } from '../../base/errors.ts';
import { grouped } from '../../base/numberText.ts';
import type { EngineMemory } from '../device.ts';
import type { DType, HostArray, Shape, Tensor, TensorGroup } from '../tensor.ts';
import type { NativeAddon } from './addon.ts';
import { Arena, type Block } from './arena.ts';

export const LINE_BYTES = 64;
const LINE_FLOATS = LINE_BYTES / 4;
/** A slab is as large as all before it together, within these bounds, so that there are few. */
const SLAB_BYTES_MIN = 2 ** 26;
const SLAB_BYTES_MAX = 2 ** 30;
/** What a slab has beyond this, and a group of this size, asks for huge pages: with them small models would take more memory. */
const SMALL_PAGES_BYTES = 2 ** 22;

interface ArrayOnMemory {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: SharedArrayBuffer, byteOffset: number, length: number): HostArray;
}
const ARRAYS: Readonly<Record<DType, ArrayOnMemory>> = {
  float32: Float32Array,
  bfloat16: Uint16Array,
  int32: Int32Array,
};

function dtypeOf(data: HostArray): DType {
  if (data instanceof Float32Array) return 'float32';
  return data instanceof Uint16Array ? 'bfloat16' : 'int32';
}

/** A tensor in the host's memory. */
export class NativeTensor implements Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly size: number;
  readonly data: HostArray;
  /** Its place in the slabs; undefined once released, and for a tensor of a group. */
  block: Block | undefined;

  constructor(shape: Shape, data: HostArray, block?: Block) {
    this.shape = shape;
    this.dtype = dtypeOf(data);
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

/** Zero-filled memory: a whole number of cache lines. */
interface Memory {
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
  readonly #addon: Pick<NativeAddon, 'misalignment' | 'adviseHugePages'>;
  /** Counts in cache lines. */
  #arena = new Arena();
  #slabs: Memory[] = [];
  #bytesOfGroups = 0;
  #bytesOfTensors = 0;
  #bytesPeak = 0;

  constructor(addon: Pick<NativeAddon, 'misalignment' | 'adviseHugePages'>) {
    this.#addon = addon;
  }

  alloc(shape: Shape, dtype: DType): NativeTensor {
    const size = sizeOfShape(shape);
    const Elements = ARRAYS[dtype];
    const block = this.#takeLines(Math.ceil((size * Elements.BYTES_PER_ELEMENT) / LINE_BYTES));
    this.#bytesOfTensors += block.size * LINE_BYTES;
    const { buffer, byteOffset } = this.#slabs[block.slab.index]!;
    const start = byteOffset + block.offset * LINE_BYTES;
    return new NativeTensor([...shape], new Elements(buffer, start, size), block);
  }

  release(tensor: NativeTensor): void {
    const block = tensor.block;
    if (!block) throw new InvariantError(`a tensor [${tensor.shape}] was released twice, or belongs to a group`);
    tensor.block = undefined;
    this.#bytesOfTensors -= block.size * LINE_BYTES;
    this.#arena.give(block);
  }

  /** Zero-filled tensors one after another, each on its own cache lines. */
  allocGroup(shapes: readonly Shape[]): NativeTensorGroup {
    const offsets: number[] = [];
    let length = 0;
    for (const shape of shapes) {
      offsets.push(length);
      length += Math.ceil(sizeOfShape(shape) / LINE_FLOATS) * LINE_FLOATS;
    }
    const memory = this.#newMemory(length * 4) ?? outOfMemory(length * 4);
    if (memory.bytes >= SMALL_PAGES_BYTES) this.#adviseHugePages(memory, 0);
    this.#bytesOfGroups += memory.bytes;
    this.#bytesPeak = Math.max(this.#bytesPeak, this.#bytesHeld());
    const { buffer, byteOffset } = memory;
    const tensors = shapes.map((shape, i) => {
      return new NativeTensor([...shape], new Float32Array(buffer, byteOffset + offsets[i]! * 4, sizeOfShape(shape)));
    });
    return new NativeTensorGroup(tensors, offsets, new Float32Array(buffer, byteOffset, length));
  }

  memory(): EngineMemory {
    const bytesInUse = this.#bytesOfGroups + this.#bytesOfTensors;
    return { bytesInUse, bytesPooled: this.#bytesHeld() - bytesInUse, bytesPeak: this.#bytesPeak };
  }

  /** Forgets everything; what is still referred to lives on until the garbage collector finds it. */
  clear(): void {
    this.#arena = new Arena();
    this.#slabs = [];
    this.#bytesOfGroups = 0;
    this.#bytesOfTensors = 0;
  }

  /** Bytes of the groups, and of the part of the slabs that tensors have ever used. */
  #bytesHeld(): number {
    return this.#bytesOfGroups + this.#arena.touched * LINE_BYTES;
  }

  #takeLines(lines: number): Block {
    const block = this.#arena.take(lines) ?? this.#takeFromNewSlab(lines);
    this.#bytesPeak = Math.max(this.#bytesPeak, this.#bytesHeld());
    return block;
  }

  #takeFromNewSlab(lines: number): Block {
    const least = lines * LINE_BYTES;
    const memory = this.#newMemory(slabBytes(least, this.#arena)) ?? this.#newMemory(least) ?? outOfMemory(least);
    this.#adviseHugePages(memory, SMALL_PAGES_BYTES);
    this.#slabs.push(memory);
    this.#arena.addSlab(memory.bytes / LINE_BYTES);
    return this.#arena.take(lines)!;
  }

  /** Undefined if the system has no more. */
  #newMemory(bytes: number): Memory | undefined {
    try {
      const buffer = new SharedArrayBuffer(bytes + LINE_BYTES);
      return { buffer, byteOffset: this.#addon.misalignment(new Float32Array(buffer)), bytes };
    } catch {
      return undefined;
    }
  }

  #adviseHugePages({ buffer, byteOffset, bytes }: Memory, from: number): void {
    if (bytes > from) this.#addon.adviseHugePages(new Float32Array(buffer, byteOffset + from, (bytes - from) / 4));
  }
}

/** The size of the next slab of an arena that counts in cache lines, for a block of `least` bytes. */
export function slabBytes(least: number, { capacity }: Arena): number {
  return Math.max(least, Math.min(Math.max(capacity * LINE_BYTES, SLAB_BYTES_MIN), SLAB_BYTES_MAX));
}

function outOfMemory(bytes: number): never {
  throw new UserError(
    `engine native: the system has no ${grouped(Math.ceil(bytes / 2 ** 20))} MiB more memory. Use a smaller model, ` +
      'a smaller train.microBatchSize or fewer workers (--dry-run shows what a run needs).',
  );
}
