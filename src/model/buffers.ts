/**
 * Buffers out of the engine's pool, by whoever took them: one that fails half-way gives back all that are still out at once, and
 * needs to know nothing of where it was.
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
