/**
 * An engine that stores and computes nothing: it lays out tensors like the native engine, to predict their memory. Only
 * kernels with memory of their own do anything.
 */
import { invariant } from '../../base/errors.ts';
import type { EngineMemory } from '../device.ts';
import type { Engine } from '../engine.ts';
import type { KernelOptions } from '../kernels.ts';
import { logitsRows } from '../linearOptions.ts';
import { type DType, elementBytes, type Shape, type Tensor, type TensorGroup } from '../tensor.ts';
import { Arena, type Block } from './arena.ts';
import { LINE_BYTES, sizeOfShape, slabBytes } from './sharedMemory.ts';

class PlannedTensor implements Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly size: number;
  block: Block | undefined;

  constructor(shape: Shape, dtype: DType) {
    this.shape = shape;
    this.dtype = dtype;
    this.size = sizeOfShape(shape);
  }

  get lines(): number {
    return Math.ceil((this.size * elementBytes[this.dtype]) / LINE_BYTES);
  }
}

export class PlanningEngine implements Engine {
  readonly name = 'planning';
  readonly deviceKind = 'none';
  readonly device = 0;
  readonly unit = 'none';
  readonly description = 'planning';
  readonly isHost = false;
  /** Counts in cache lines. */
  readonly #arena = new Arena();
  #linesOfGroups = 0;
  #linesOfTensors = 0;

  alloc(shape: Shape, dtype: DType = 'float32'): Tensor {
    const tensor = new PlannedTensor(shape, dtype);
    const { lines } = tensor;
    tensor.block = this.#arena.take(lines) ?? this.#takeFromNewSlab(lines);
    this.#linesOfTensors += lines;
    return tensor;
  }

  allocGroup(shapes: readonly Shape[]): TensorGroup {
    const tensors = shapes.map((shape) => new PlannedTensor(shape, 'float32'));
    const offsets: number[] = [];
    let lines = 0;
    for (const tensor of tensors) {
      offsets.push((lines * LINE_BYTES) / elementBytes.float32);
      lines += tensor.lines;
    }
    this.#linesOfGroups += lines;
    return { tensors, offsets, length: (lines * LINE_BYTES) / elementBytes.float32 };
  }

  release(tensor: Tensor): void {
    invariant(tensor instanceof PlannedTensor && tensor.block !== undefined, 'released twice, or not a planned tensor');
    this.#arena.give(tensor.block);
    tensor.block = undefined;
    this.#linesOfTensors -= tensor.lines;
  }

  memory(): EngineMemory {
    const bytesPeak = (this.#linesOfGroups + this.#arena.touched) * LINE_BYTES;
    const bytesInUse = (this.#linesOfGroups + this.#linesOfTensors) * LINE_BYTES;
    return { bytesInUse, bytesPooled: bytesPeak - bytesInUse, bytesPeak };
  }

  /** The logits of some rows. */
  linearCrossEntropy({ targets, weight, weightTransposed }: KernelOptions<'linearCrossEntropy'>): void {
    const vocabSize = weight.shape[weightTransposed ? 0 : 1]!;
    this.release(this.alloc([logitsRows(targets.size, vocabSize), vocabSize]));
  }

  #takeFromNewSlab(lines: number): Block {
    this.#arena.addSlab(slabBytes(lines * LINE_BYTES, this.#arena) / LINE_BYTES);
    return this.#arena.take(lines)!;
  }

  hostRange(_: TensorGroup, from: number, to: number): Float32Array {
    return new Float32Array(new SharedArrayBuffer((to - from) * elementBytes.float32));
  }
  copyOut(): undefined {}
  copyIn(): void {}
  async snapshot(): Promise<void> {}
  async checksum(): Promise<string> {
    return '0'.repeat(64);
  }
  async download(): Promise<void> {}
  async finish(): Promise<void> {}
  async dispose(): Promise<void> {}
  async squaredNorm(): Promise<number> {
    return 0;
  }
  upload(): void {}
  zero(): void {}
  zeroGroup(): void {}
  add(): void {}
  copy(): void {}
  dropout(): void {}
  embeddingForward(): void {}
  embeddingBackward(): void {}
  layerNormForward(): void {}
  layerNormBackward(): void {}
  rmsNormForward(): void {}
  rmsNormBackward(): void {}
  rope(): void {}
  linearForward(): void {}
  linearBackward(): void {}
  activationForward(): void {}
  activationBackward(): void {}
  gatedActivationForward(): void {}
  gatedActivationBackward(): void {}
  attentionForward(): void {}
  attentionBackward(): void {}
  attentionDecode(): void {}
  crossEntropy(): void {}
  adamw(): void {}
  weightedSum(): void {}
  normalise(): void {}
}
