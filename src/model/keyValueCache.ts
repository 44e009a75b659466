/** Keys and values of earlier tokens, so that only each new token goes through the model. */
import type { Engine } from '../engine/engine.ts';
import type { CachedKeys } from '../engine/kernels.ts';

/** Grows with the keys and values of each pass; `release` frees its memory. */
export class KeyValueCache {
  readonly #engine: Engine;
  readonly #blockSize: number;
  readonly #layers: Omit<CachedKeys, 'position'>[] = [];

  /** For contexts of at most `blockSize` tokens. */
  constructor(engine: Engine, blockSize: number) {
    this.#engine = engine;
    this.#blockSize = blockSize;
  }

  /** Keys and values [blockSize, width] of the `index`-th attention of a pass, from 0. */
  layer(index: number, width: number): Omit<CachedKeys, 'position'> {
    const found = this.#layers[index];
    if (found !== undefined) return found;
    const shape = [this.#blockSize, width];
    const made = { keys: this.#engine.alloc(shape), values: this.#engine.alloc(shape) };
    this.#layers[index] = made;
    return made;
  }

  /** Frees the memory and empties the cache. */
  release(): void {
    for (const { keys, values } of this.#layers.splice(0)) {
      this.#engine.release(keys);
      this.#engine.release(values);
    }
  }
}
