/** What the native engine does with tensors other than compute on them: that is nativeEngine.ts. */
import type { DType, EngineMemory, HostArray, Shape, Tensor, TensorGroup } from '../engine.ts';
import type { NativeAddon } from './addon.ts';
import { checkHostArray, floatsOfGroup, nativeTensor } from './checks.ts';
import { SharedMemory } from './sharedMemory.ts';

export abstract class NativeTensors {
  readonly #memory: SharedMemory;

  constructor(addon: NativeAddon) {
    this.#memory = new SharedMemory(addon);
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
    own.set(data);
  }

  async download(tensor: Tensor, into: HostArray): Promise<void> {
    const { data: own } = nativeTensor(tensor, 'tensor');
    checkHostArray(own, into, 'download');
    into.set(own);
  }

  hostView(tensor: Tensor): Float32Array | undefined {
    const { data } = nativeTensor(tensor, 'tensor');
    return data instanceof Float32Array ? data : undefined;
  }

  hostViewOfGroup(group: TensorGroup): Float32Array {
    return floatsOfGroup(group);
  }

  async finish(): Promise<void> {}

  memory(): EngineMemory {
    return this.#memory.memory();
  }

  protected clear(): void {
    this.#memory.clear();
  }
}
