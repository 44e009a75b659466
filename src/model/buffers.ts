/**
 * Tracks the buffers that an operation took from the engine's pool. If the operation fails half way, it returns all of them at once,
 * without knowing where it failed.
 */
import type { Engine } from '../engine/engine.ts';
import type { DType, Shape, Tensor } from '../engine/tensor.ts';

export class Buffers {
  readonly #engine: Engine;
  readonly #out = new Set<Tensor>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  alloc(shape: Shape, dtype: DType = 'float32'): Tensor {
    const tensor = this.#engine.alloc(shape, dtype);
    this.#out.add(tensor);
    return tensor;
  }

  release(tensor: Tensor): void {
    this.#out.delete(tensor);
    this.#engine.release(tensor);
  }

  releaseAll(): void {
    for (const tensor of this.#out) this.release(tensor);
  }
}
