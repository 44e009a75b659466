/**
 * The WebGPU engine: the kernels of the interface as WGSL programs, on any GPU that Dawn drives. Calls record commands; the GPU runs them
 * in their order. Each kernel has its file in kernels/; this one gives them the device.
 */
import { invariant } from '../../base/errors.ts';
import type { DeviceTimings, EngineMemory } from '../device.ts';
import type { Engine } from '../engine.ts';
import { checkGroupRange } from '../groupRange.ts';
import type { KernelOptions } from '../kernels.ts';
import type { EnginePrecision } from '../precision.ts';
import { sha256Of } from '../sha256.ts';
import type { DType, HostArray, Shape, Tensor, TensorGroup } from '../tensor.ts';
import type { Gpu } from './gpu.ts';
import { activationBackward, activationForward } from './kernels/activation.ts';
import { adamw } from './kernels/adamw.ts';
import { attentionForward } from './kernels/attention.ts';
import { attentionBackward } from './kernels/attentionBackward.ts';
import { attentionDecode } from './kernels/attentionDecode.ts';
import { crossEntropy } from './kernels/crossEntropy.ts';
import { add, copy, dropout, zero, zeroGroup } from './kernels/elementwise.ts';
import { embeddingBackward, embeddingForward } from './kernels/embedding.ts';
import { fmaRate } from './kernels/fmaLimit.ts';
import { gatedActivationBackward, gatedActivationForward } from './kernels/gatedActivation.ts';
import { layerNormBackward, layerNormForward } from './kernels/layerNorm.ts';
import { linearBackward, linearForward } from './kernels/linear.ts';
import { linearCrossEntropy } from './kernels/linearCrossEntropy.ts';
import { normalise, weightedSum } from './kernels/matrices.ts';
import { matrixRate } from './kernels/matrixLimit.ts';
import { rmsNormBackward, rmsNormForward } from './kernels/rmsNorm.ts';
import { rope } from './kernels/rope.ts';
import { squaredNorm } from './kernels/squaredNorm.ts';
import { gpuGroup, gpuTensor } from './memory.ts';
import { openGpu } from './openDevice.ts';
import { type PlannedDevice, plannedGpu } from './plannedGpu.ts';
import { GpuTimings } from './timings.ts';

/**
 * @param device which GPU, from 0
 * @throws UserError if there is none, saying what to install
 */
export async function createWebgpuEngine({ device = 0 } = {}): Promise<Engine> {
  return new WebgpuEngine(await openGpu(device), device);
}

/** The engine on a GPU that computes nothing, with the memory that this device would take. It needs no `dispose`. */
export function planWebgpuEngine(device: PlannedDevice): Engine {
  return new WebgpuEngine(plannedGpu(device), 0);
}

class WebgpuEngine implements Engine {
  readonly name = 'webgpu';
  readonly deviceKind = 'gpu';
  readonly device: number;
  readonly unit: string;
  readonly description: string;
  readonly isHost = false;
  readonly hasFloat16: boolean;
  /** Absent on a device without timestamps. */
  readonly timings?: DeviceTimings;
  readonly #gpu: Gpu;
  readonly #gpuTimings: GpuTimings;
  #closed: Promise<void> | undefined;

  constructor(gpu: Gpu, device: number) {
    this.#gpu = gpu;
    this.device = device;
    this.hasFloat16 = gpu.hasFloat16;
    this.#gpuTimings = new GpuTimings(gpu.commands);
    if (gpu.device.features.has('timestamp-query')) this.timings = this.#gpuTimings;
    // Another driver may compile the same program to other instructions.
    this.unit = [gpu.name, gpu.info.description].filter(Boolean).join(', ');
    this.description = `webgpu (${gpu.name})`;
  }

  alloc(shape: Shape, dtype: DType = 'float32'): Tensor {
    return this.#gpu.memory.alloc(shape, dtype);
  }

  allocGroup(shapes: readonly Shape[]): TensorGroup {
    return this.#gpu.memory.allocGroup(shapes);
  }

  release(tensor: Tensor): void {
    this.#gpu.memory.release(gpuTensor(tensor));
  }

  upload(tensor: Tensor, data: HostArray): void {
    const own = gpuTensor(tensor);
    const { buffer, byteOffset, dtype, size } = own;
    const expected = dtype === 'int32' ? Int32Array : Float32Array;
    invariant(
      data instanceof expected && !(data instanceof Uint16Array) && data.length === size,
      `upload: the tensor is ${dtype} [${tensor.shape}], the array ${data.constructor.name}(${data.length})`,
    );
    if (data instanceof Int32Array) own.hostValues = data.slice();
    this.#gpu.commands.write(buffer, byteOffset, data);
  }

  async download(tensor: Tensor, into: HostArray): Promise<void> {
    const { buffer, byteOffset, dtype, size } = gpuTensor(tensor);
    const expected = dtype === 'int32' ? Int32Array : Float32Array;
    invariant(
      into instanceof expected && into.length === size,
      `download: the tensor is ${dtype} [${tensor.shape}], the array ${into.constructor.name}(${into.length})`,
    );
    await this.#gpu.transfers.read(buffer, byteOffset, into);
  }

  hostRange(_: TensorGroup, from: number, to: number): Float32Array {
    return new Float32Array(new SharedArrayBuffer((to - from) * Float32Array.BYTES_PER_ELEMENT));
  }

  copyOut(group: TensorGroup, from: number, to: number, into: Float32Array): Promise<void> {
    checkGroupRange('copyOut', group, from, to, into);
    return this.#gpu.transfers.read(gpuGroup(group).buffer, 4 * from, into);
  }

  copyIn(group: TensorGroup, from: number, to: number, data: Float32Array): void {
    checkGroupRange('copyIn', group, from, to, data);
    if (data.length > 0) this.#gpu.commands.write(gpuGroup(group).buffer, 4 * from, data);
  }

  async snapshot(groups: readonly TensorGroup[], into: readonly Float32Array[]): Promise<void> {
    for (const [i, group] of groups.entries()) checkGroupRange('snapshot', group, 0, group.length, into[i]!);
    await this.#gpu.transfers.snapshot(
      groups.map((group) => gpuGroup(group).buffer),
      into,
    );
  }

  /** SHA-256, on the host. */
  async checksum(groups: readonly TensorGroup[]): Promise<string> {
    const copies = groups.map(({ length }) => new Float32Array(length));
    await this.snapshot(groups, copies);
    const tensors = groups.flatMap(({ tensors, offsets }, i) =>
      tensors.map(({ size }, j) => copies[i]!.subarray(offsets[j]!, offsets[j]! + size)),
    );
    return sha256Of(tensors);
  }

  async finish(): Promise<void> {
    await this.#gpu.commands.finish();
  }

  /** In multiply-adds that stay in registers, or by matrix units if they are faster. */
  async peakFlops(precision: EnginePrecision, seconds: number): Promise<number | undefined> {
    if (precision === 'bf16' || (precision === 'f16' && !this.hasFloat16)) return undefined;
    const unit = this.#gpu.matrixUnits[precision === 'f16' ? 'f16' : 'f32'];
    const rate = await fmaRate(this.#gpu, unit === undefined ? seconds : seconds / 2);
    return unit === undefined ? rate : Math.max(rate, await matrixRate(this.#gpu, unit, seconds / 2));
  }

  memory(): EngineMemory {
    return this.#gpu.memory.memory();
  }

  dispose(): Promise<void> {
    this.#closed ??= this.#gpu.close();
    return this.#closed;
  }

  zero(tensor: Tensor): void {
    this.#record(zero, tensor);
  }

  zeroGroup(group: TensorGroup): void {
    this.#record(zeroGroup, group);
  }

  add(options: KernelOptions<'add'>): void {
    this.#record(add, options);
  }

  copy(options: KernelOptions<'copy'>): void {
    this.#record(copy, options);
  }

  dropout(options: KernelOptions<'dropout'>): void {
    this.#record(dropout, options);
  }

  embeddingForward(options: KernelOptions<'embeddingForward'>): void {
    this.#record(embeddingForward, options);
  }

  embeddingBackward(options: KernelOptions<'embeddingBackward'>): void {
    this.#record(embeddingBackward, options);
  }

  layerNormForward(options: KernelOptions<'layerNormForward'>): void {
    this.#record(layerNormForward, options);
  }

  layerNormBackward(options: KernelOptions<'layerNormBackward'>): void {
    this.#record(layerNormBackward, options);
  }

  rmsNormForward(options: KernelOptions<'rmsNormForward'>): void {
    this.#record(rmsNormForward, options);
  }

  rmsNormBackward(options: KernelOptions<'rmsNormBackward'>): void {
    this.#record(rmsNormBackward, options);
  }

  rope(options: KernelOptions<'rope'>): void {
    this.#record(rope, options);
  }

  linearForward(options: KernelOptions<'linearForward'>): void {
    this.#record(linearForward, options);
  }

  linearBackward(options: KernelOptions<'linearBackward'>): void {
    this.#record(linearBackward, options);
  }

  activationForward(options: KernelOptions<'activationForward'>): void {
    this.#record(activationForward, options);
  }

  activationBackward(options: KernelOptions<'activationBackward'>): void {
    this.#record(activationBackward, options);
  }

  gatedActivationForward(options: KernelOptions<'gatedActivationForward'>): void {
    this.#record(gatedActivationForward, options);
  }

  gatedActivationBackward(options: KernelOptions<'gatedActivationBackward'>): void {
    this.#record(gatedActivationBackward, options);
  }

  attentionForward(options: KernelOptions<'attentionForward'>): void {
    this.#record(attentionForward, options);
  }

  attentionBackward(options: KernelOptions<'attentionBackward'>): void {
    this.#record(attentionBackward, options);
  }

  attentionDecode(options: KernelOptions<'attentionDecode'>): void {
    this.#record(attentionDecode, options);
  }

  crossEntropy(options: KernelOptions<'crossEntropy'>): void {
    this.#record(crossEntropy, options);
  }

  linearCrossEntropy(options: KernelOptions<'linearCrossEntropy'>): void {
    this.#record(linearCrossEntropy, options);
  }

  adamw(options: KernelOptions<'adamw'>): void {
    this.#record(adamw, options);
  }

  squaredNorm(group: TensorGroup): Promise<number> {
    return this.#record(squaredNorm, group);
  }

  weightedSum(options: KernelOptions<'weightedSum'>): void {
    this.#record(weightedSum, options);
  }

  normalise(options: KernelOptions<'normalise'>): void {
    this.#record(normalise, options);
  }

  /** Records one kernel of the interface, whose function has its name. */
  #record<O, R>(kernel: (gpu: Gpu, options: O) => R, options: O): R {
    return this.#gpuTimings.kernel(kernel.name, () => kernel(this.#gpu, options));
  }
}
