/**
 * The tfjs engine: the kernels of engine.ts as TensorFlow.js operations, on any of its available backends. It serves GPUs
 * and machines without a compiler. Parity tests compare the native engine with it as an independent implementation: it shares no
 * formula with it. math.ts and attentionMath.ts have the formulas; the files in kernels/ check shapes and move results into tensors. This one
 * gives them the device.
 */
import type { EngineMemory } from '../device.ts';
import type { Engine } from '../engine.ts';
import type { KernelOptions } from '../kernels.ts';
import { sha256Of } from '../sha256.ts';
import type { DType, HostArray, Shape, Tensor, TensorGroup } from '../tensor.ts';
import { loadBackend, type TfjsBackend } from './backends.ts';
import type { TfjsBackendName } from './deviceKinds.ts';
import { deviceTensor } from './deviceTensor.ts';
import {
  activationBackward,
  activationForward,
  gatedActivationBackward,
  gatedActivationForward,
} from './kernels/activation.ts';
import { attentionBackward, attentionDecode, attentionForward } from './kernels/attention.ts';
import { crossEntropy, linearCrossEntropy } from './kernels/crossEntropy.ts';
import { add, copy, dropout, zero, zeroGroup } from './kernels/elementwise.ts';
import { embeddingBackward, embeddingForward } from './kernels/embedding.ts';
import { layerNormBackward, layerNormForward } from './kernels/layerNorm.ts';
import { linearBackward, linearForward } from './kernels/linear.ts';
import { adamw, normalise, squaredNorm, weightedSum } from './kernels/optimizer.ts';
import { rmsNormBackward, rmsNormForward } from './kernels/rmsNorm.ts';
import { rope } from './kernels/rope.ts';
import type { TensorStore } from './tensorStore.ts';
import { TfjsDevice } from './tfjsDevice.ts';

export interface TfjsEngineOptions {
  readonly deviceKind: TfjsBackendName;
}

/** Throws a UserError if the device is not available, saying what to install. */
export async function createTfjsEngine({ deviceKind }: TfjsEngineOptions): Promise<Engine> {
  return new TfjsEngine(await loadBackend(deviceKind));
}

class TfjsEngine implements Engine {
  readonly name = 'tfjs';
  readonly isHost = false;
  readonly deviceKind: string;
  readonly device = 0;
  readonly unit: string;
  readonly description: string;
  private readonly backend: TfjsBackend;
  private readonly open: TfjsDevice;
  private readonly store: TensorStore;
  private disposed = false;

  constructor(backend: TfjsBackend) {
    this.backend = backend;
    this.deviceKind = backend.deviceKind;
    this.unit = backend.detail;
    this.description = `tfjs (${backend.deviceKind}: ${backend.detail})`;
    this.open = new TfjsDevice(backend);
    this.store = this.open.store;
  }

  alloc(shape: Shape, dtype: DType = 'float32'): Tensor {
    return this.store.alloc(shape, dtype);
  }

  allocGroup(shapes: readonly Shape[]): TensorGroup {
    return this.store.allocGroup(shapes);
  }

  release(tensor: Tensor): void {
    this.store.release(deviceTensor(tensor));
  }

  upload(tensor: Tensor, data: HostArray): void {
    this.store.upload(deviceTensor(tensor), data);
  }

  async download(tensor: Tensor, into: HostArray): Promise<void> {
    await this.store.download(deviceTensor(tensor), into);
  }

  hostRange(_: TensorGroup, from: number, to: number): Float32Array {
    return new Float32Array(new SharedArrayBuffer((to - from) * Float32Array.BYTES_PER_ELEMENT));
  }

  copyOut(group: TensorGroup, from: number, to: number, into: Float32Array): Promise<void> | undefined {
    return this.store.copyOut(group, from, to, into);
  }

  copyIn(group: TensorGroup, from: number, to: number, data: Float32Array): void {
    this.store.copyIn(group, from, to, data);
  }

  /** Contents are never overwritten, only replaced: holding on to them is the copy on the device. */
  async snapshot(groups: readonly TensorGroup[], into: readonly Float32Array[]): Promise<void> {
    await Promise.all(groups.map((group, i) => this.store.copyOut(group, 0, group.length, into[i]!)));
  }

  /** SHA-256, on the host: the operations of TensorFlow.js have no integers of 32 bits. */
  async checksum(groups: readonly TensorGroup[]): Promise<string> {
    const copies = groups.map(({ length }) => new Float32Array(length));
    await this.snapshot(groups, copies);
    return sha256Of(copies);
  }

  async finish(): Promise<void> {
    this.store.settle();
    await this.backend.finish();
  }

  memory(): EngineMemory {
    return this.store.memory();
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    await this.backend.finish();
    this.store.disposeAll();
    this.backend.release();
  }

  zero(tensor: Tensor): void {
    zero(this.open, tensor);
  }

  zeroGroup(group: TensorGroup): void {
    zeroGroup(this.open, group);
  }

  add(options: KernelOptions<'add'>): void {
    add(this.open, options);
  }

  copy(options: KernelOptions<'copy'>): void {
    copy(this.open, options);
  }

  dropout(options: KernelOptions<'dropout'>): void {
    dropout(this.open, options);
  }

  embeddingForward(options: KernelOptions<'embeddingForward'>): void {
    embeddingForward(this.open, options);
  }

  embeddingBackward(options: KernelOptions<'embeddingBackward'>): void {
    embeddingBackward(this.open, options);
  }

  layerNormForward(options: KernelOptions<'layerNormForward'>): void {
    layerNormForward(this.open, options);
  }

  layerNormBackward(options: KernelOptions<'layerNormBackward'>): void {
    layerNormBackward(this.open, options);
  }

  rmsNormForward(options: KernelOptions<'rmsNormForward'>): void {
    rmsNormForward(this.open, options);
  }

  rmsNormBackward(options: KernelOptions<'rmsNormBackward'>): void {
    rmsNormBackward(this.open, options);
  }

  rope(options: KernelOptions<'rope'>): void {
    rope(this.open, options);
  }

  linearForward(options: KernelOptions<'linearForward'>): void {
    linearForward(this.open, options);
  }

  linearBackward(options: KernelOptions<'linearBackward'>): void {
    linearBackward(this.open, options);
  }

  activationForward(options: KernelOptions<'activationForward'>): void {
    activationForward(this.open, options);
  }

  activationBackward(options: KernelOptions<'activationBackward'>): void {
    activationBackward(this.open, options);
  }

  gatedActivationForward(options: KernelOptions<'gatedActivationForward'>): void {
    gatedActivationForward(this.open, options);
  }

  gatedActivationBackward(options: KernelOptions<'gatedActivationBackward'>): void {
    gatedActivationBackward(this.open, options);
  }

  attentionForward(options: KernelOptions<'attentionForward'>): void {
    attentionForward(this.open, options);
  }

  attentionBackward(options: KernelOptions<'attentionBackward'>): void {
    attentionBackward(this.open, options);
  }

  attentionDecode(options: KernelOptions<'attentionDecode'>): void {
    attentionDecode(this.open, options);
  }

  crossEntropy(options: KernelOptions<'crossEntropy'>): void {
    crossEntropy(this.open, options);
  }

  linearCrossEntropy(options: KernelOptions<'linearCrossEntropy'>): void {
    linearCrossEntropy(this.open, options);
  }

  squaredNorm(group: TensorGroup): Promise<number> {
    return squaredNorm(this.open, group);
  }

  adamw(options: KernelOptions<'adamw'>): void {
    adamw(this.open, options);
  }

  weightedSum(options: KernelOptions<'weightedSum'>): void {
    weightedSum(this.open, options);
  }

  normalise(options: KernelOptions<'normalise'>): void {
    normalise(this.open, options);
  }
}
