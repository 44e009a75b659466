/** What the native engine does with tensors other than compute on them: kernels/ does that. */
import type { EngineMemory } from '../device.ts';
import { checkGroupRange } from '../groupRange.ts';
import { sha256Of } from '../sha256.ts';
import type { DType, HostArray, Shape, Tensor, TensorGroup } from '../tensor.ts';
import { checkHostArray, floats, floatsOfGroup, nativeTensor } from './checks.ts';
import type { SharedMemory } from './sharedMemory.ts';

export abstract class NativeTensors {
  readonly isHost = true;
  readonly #memory: SharedMemory;

  constructor(memory: SharedMemory) {
    this.#memory = memory;
  }

  alloc(shape: Shape, dtype: DType = 'float32'): Tensor {
    return this.#memory.alloc(shape, dtype);
  }

  allocGroup(shapes: readonly Shape[]): TensorGroup {
    return this.#memory.allocGroup(shapes);
  }

  release(tensor: Tensor): void {
    this.#memory.release(nativeTensor(tensor, 'tensor'));
  }

  upload(tensor: Tensor, data: HostArray): void {
    const { data: own } = nativeTensor(tensor, 'tensor');
    checkHostArray(own, data, 'upload');
    if (!isSame(own, data)) own.set(data);
  }

  async download(tensor: Tensor, into: HostArray): Promise<void> {
    const { data: own } = nativeTensor(tensor, 'tensor');
    checkHostArray(own, into, 'download');
    into.set(own);
  }

  /** The live contents of a float32 tensor. */
  hostView(tensor: Tensor): Float32Array | undefined {
    const { data } = nativeTensor(tensor, 'tensor');
    return data instanceof Float32Array ? data : undefined;
  }

  hostRange(group: TensorGroup, from: number, to: number): Float32Array {
    return floatsOfGroup(group).subarray(from, to);
  }

  copyOut(group: TensorGroup, from: number, to: number, into: Float32Array): undefined {
    checkGroupRange('copyOut', group, from, to, into);
    const own = this.hostRange(group, from, to);
    if (!isSame(own, into)) into.set(own);
  }

  copyIn(group: TensorGroup, from: number, to: number, data: Float32Array): void {
    checkGroupRange('copyIn', group, from, to, data);
    const own = this.hostRange(group, from, to);
    if (!isSame(own, data)) own.set(data);
  }

  async snapshot(groups: readonly TensorGroup[], into: readonly Float32Array[]): Promise<void> {
    for (const [i, group] of groups.entries()) this.copyOut(group, 0, group.length, into[i]!);
  }

  /** SHA-256, of the memory itself. */
  async checksum(groups: readonly TensorGroup[]): Promise<string> {
    return sha256Of(groups.flatMap(({ tensors }) => tensors.map((tensor) => floats(tensor, 'tensor'))));
  }

  async finish(): Promise<void> {}

  memory(): EngineMemory {
    return this.#memory.memory();
  }
}

/** Whether two arrays of the same length share their memory. */
function isSame(one: HostArray, other: HostArray): boolean {
  return one.buffer === other.buffer && one.byteOffset === other.byteOffset;
}
