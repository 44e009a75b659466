/** Keys and values of earlier tokens, so that only each new token goes through the model. */
import type { Engine } from '../engine/engine.ts';
import type { CachedKeys } from '../engine/kernels.ts';

/** Rows that a layer gets at first; later it grows to twice as many, so the memory follows the sequence, not the longest context. */
const firstRows = 256;

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

  /** Keys and values of the `index`-th attention of a pass, from 0, with at least `rows` rows of `width` numbers: at most blockSize. */
  layer(index: number, width: number, rows: number): Omit<CachedKeys, 'position'> {
    const found = this.#layers[index];
    const before = found === undefined ? 0 : found.keys.size / width;
    if (found !== undefined && rows <= before) return found;
    const shape = [Math.min(this.#blockSize, Math.max(rows, 2 * before, firstRows)), width];
    const made = { keys: this.#engine.alloc(shape), values: this.#engine.alloc(shape) };
    this.#layers[index] = made;
    if (found === undefined) return made;
    for (const name of ['keys', 'values'] as const) {
      this.#engine.copy({ out: made[name], inp: found[name] });
      this.#engine.release(found[name]);
    }
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
