/** One open GPU as kernels see it: its commands, its memory, and what it can do. */
import type { DType, Shape } from '../tensor.ts';
import { matrixFeature } from './adapters.ts';
import { type Bound, type Call, Commands } from './commands.ts';
import { type MatrixInfo, type MatrixUnit, matrixUnitOf } from './matrixUnits.ts';
import { DeviceMemory, type GpuTensor } from './memory.ts';
import { flatGroups, type Program } from './program.ts';
import { Transfers } from './transfers.ts';

export class Gpu {
  readonly device: GPUDevice;
  readonly info: GPUAdapterInfo;
  /** The name of the product, such as `NVIDIA GeForce RTX 4090`. */
  readonly name: string;
  /** Whether programs may compute with float16 numbers. */
  readonly hasFloat16: boolean;
  /** The matrix units that products use, by the type of their elements. */
  readonly matrixUnits: { readonly [element in MatrixUnit['element']]: MatrixUnit | undefined };
  readonly commands: Commands;
  readonly memory: DeviceMemory;
  readonly transfers: Transfers;

  constructor(device: GPUDevice, info: GPUAdapterInfo, name: string) {
    this.device = device;
    this.info = info;
    this.name = name;
    this.hasFloat16 = device.features.has('shader-f16');
    const has = (element: MatrixUnit['element']) =>
      (device.features as ReadonlySet<string>).has(matrixFeature)
        ? matrixUnitOf(info as MatrixInfo, element)
        : undefined;
    this.matrixUnits = { f16: has('f16'), f32: has('f32') };
    this.memory = new DeviceMemory(device, (ask, report) => this.commands.watch(ask, report));
    this.commands = new Commands(device, this.memory, info.isFallbackAdapter);
    this.transfers = new Transfers(this.commands, this.memory);
  }

  /** The most float32 numbers that a program can bind as one array, a multiple of 64. */
  get bindingFloatsMax(): number {
    return Math.floor(this.device.limits.maxStorageBufferBindingSize / 256) * 64;
  }

  /** Records one call of a program. */
  run<B extends string, P extends string>(program: Program<B, P>, call: Call<B, P>): void {
    this.commands.run(program, call);
  }

  /** Calls `use` with tensors that nobody needs afterwards. */
  withTemporary<T>(shape: Shape, use: (tensor: GpuTensor) => T, dtype: DType = 'float32'): T {
    const tensor = this.memory.alloc(shape, dtype);
    try {
      return use(tensor);
    } finally {
      this.memory.release(tensor);
    }
  }

  /**
   * Calls a program of `flatMain` for every element of tensors of `size` elements each, in parts that fit a binding. `params.count` is the
   * number of elements of a part, `params.first` its first.
   */
  runFlat<B extends string, P extends string>(
    flat: Program<B, P>,
    tensors: Readonly<Record<B, GpuTensor>>,
    params: Readonly<Record<Exclude<P, 'count' | 'first'>, number>>,
    size: number,
  ): void {
    for (let from = 0; from < size; from += this.bindingFloatsMax) {
      const length = Math.min(this.bindingFloatsMax, size - from);
      const bound = Object.entries<GpuTensor>(tensors).map(([name, tensor]) => [name, { tensor, from, length }]);
      this.run(flat, {
        tensors: Object.fromEntries(bound) as Record<B, Bound>,
        params: { ...params, count: length, first: from } as Record<P, number>,
        groups: flatGroups(length),
      });
    }
  }

  /**
   * Ends the device. Reads that have not ended are rejected. Dawn aborts the process if a thread ends while one of its promises is
   * pending, so this resolves when none is.
   */
  async close(): Promise<void> {
    this.commands.close();
    this.memory.close();
    this.device.destroy();
    await this.device.lost;
    await this.commands.settled();
  }
}
