/** Keys and values of the tokens that a model has seen, so that each new token goes through it alone. */
import type { Engine } from '../engine/engine.ts';
import type { CachedKeys } from '../engine/kernels.ts';

/** Grows by what a pass attends with; `release` gives its memory back. */
export class KeyValueCache {
  readonly #engine: Engine;
  readonly #blockSize: number;
  readonly #layers: Omit<CachedKeys, 'position'>[] = [];

  /** Of contexts of at most `blockSize` tokens. */
  constructor(engine: Engine, blockSize: number) {
    this.#engine = engine;
    this.#blockSize = blockSize;
  }

  /** Of the attention that a pass reaches as the `index`-th, from 0: keys and values [blockSize, C]. */
  layer(index: number, width: number): Omit<CachedKeys, 'position'> {
    const found = this.#layers[index];
    if (found !== undefined) return found;
    const shape = [this.#blockSize, width];
    const made = { keys: this.#engine.alloc(shape), values: this.#engine.alloc(shape) };
    this.#layers[index] = made;
    return made;
  }

  /** Gives the memory back; the cache is empty then. */
  release(): void {
    for (const { keys, values } of this.#layers.splice(0)) {
      this.#engine.release(keys);
      this.#engine.release(values);
    }
  }
}
