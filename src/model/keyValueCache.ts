/** Keys and values of earlier tokens and of a source, so that only each new token goes through the model. */
import { invariant } from '../base/errors.ts';
import type { CachedKeys } from '../engine/attentionOptions.ts';
import type { Engine } from '../engine/engine.ts';

/**
 * Rows that a layer gets at first. It doubles until a sequence fits, so the memory follows the sequence, not the longest context; and a
 * layer has the same rows at the end, however long the prompt was (`--dry-run` plans with that).
 */
const firstRows = 256;

type Layer = Omit<CachedKeys, 'position'>;

/** The keys and values of a sequence in each layer. */
class Layers {
  readonly #engine: Engine;
  readonly #rowsMax: number;
  readonly #layers: Layer[] = [];

  constructor(engine: Engine, rowsMax: number) {
    this.#engine = engine;
    this.#rowsMax = rowsMax;
  }

  get(index: number, width: number, rows: number): Layer {
    const found = this.#layers[index];
    const before = found === undefined ? 0 : found.keys.size / width;
    if (found !== undefined && rows <= before) return found;
    let doubled = firstRows;
    while (doubled < rows) doubled *= 2;
    const shape = [Math.min(this.#rowsMax, doubled), width];
    const made = { keys: this.#engine.alloc(shape), values: this.#engine.alloc(shape) };
    this.#layers[index] = made;
    if (found === undefined) return made;
    for (const name of ['keys', 'values'] as const) {
      this.#engine.copy({ out: made[name], inp: found[name] });
      this.#engine.release(found[name]);
    }
    return made;
  }

  /** Takes over the contents of another. */
  copyFrom(other: Layers): void {
    for (const [index, { keys, values }] of other.#layers.entries()) {
      const [rows, width] = keys.shape as [number, number];
      const own = this.get(index, width, rows);
      this.#engine.copy({ out: own.keys, inp: keys });
      this.#engine.copy({ out: own.values, inp: values });
    }
  }

  release(): void {
    for (const { keys, values } of this.#layers.splice(0)) {
      this.#engine.release(keys);
      this.#engine.release(values);
    }
  }
}

/** The source of one or more sequences: its tokens, and from the first pass on its keys and values in each layer of the decoder. */
interface CachedSource {
  readonly tokens: Int32Array;
  readonly layers: Layers;
  /** Whether a pass has filled the layers. */
  isEncoded: boolean;
  /** Caches that use it. */
  users: number;
}

/** Grows with the keys and values of each pass; `release` frees its memory. */
export class KeyValueCache {
  readonly #engine: Engine;
  readonly #blockSize: number;
  readonly #layers: Layers;
  #source: CachedSource | undefined;

  /** For contexts of at most `blockSize` tokens. @param source the tokens of a source, of which there is at least one */
  constructor(engine: Engine, blockSize: number, source?: ArrayLike<number>) {
    this.#engine = engine;
    this.#blockSize = blockSize;
    this.#layers = new Layers(engine, blockSize);
    if (source === undefined) return;
    const tokens = Int32Array.from(source);
    this.#source = { tokens, layers: new Layers(engine, tokens.length), isEncoded: false, users: 1 };
  }

  /** Keys and values of the `index`-th attention of a pass, from 0, with at least `rows` rows of `width` numbers: at most blockSize. */
  layer(index: number, width: number, rows: number): Omit<CachedKeys, 'position'> {
    return this.#layers.get(index, width, rows);
  }

  /** Keys and values [S, width] of the source in the `index`-th attention to it, with its length as the position. */
  sourceLayer(index: number, width: number): CachedKeys {
    const { layers, tokens } = this.#ownSource;
    return { ...layers.get(index, width, tokens.length), position: tokens.length };
  }

  /** The tokens of a source that no pass has encoded; undefined if there is nothing to encode. */
  get sourceToEncode(): Int32Array | undefined {
    return this.#source?.isEncoded === false ? this.#source.tokens : undefined;
  }

  /** Whether there is a source. */
  get hasSource(): boolean {
    return this.#source !== undefined;
  }

  /** A pass has filled the layers of the source. */
  sourceEncoded(): void {
    this.#ownSource.isEncoded = true;
  }

  /** A copy, for a sequence that begins in the same way. Both use the same source. */
  copy(): KeyValueCache {
    const copy = new KeyValueCache(this.#engine, this.#blockSize);
    copy.#layers.copyFrom(this.#layers);
    if (this.#source !== undefined) {
      copy.#source = this.#source;
      this.#source.users++;
    }
    return copy;
  }

  /** Frees the memory and empties the cache, which has no source then. The last cache that uses a source frees that too. */
  release(): void {
    this.#layers.release();
    if (this.#source !== undefined && --this.#source.users === 0) this.#source.layers.release();
    this.#source = undefined;
  }

  get #ownSource(): CachedSource {
    invariant(this.#source !== undefined, 'this cache has no source');
    return this.#source;
  }
}
