/**
 * A batch of windows of a text: two arrays of which the second is the first, one position further, as the targets of a text are its tokens. It keeps
 * T + 1 numbers a sample, and makes the arrays when they are read. A coordinator of many workers sends the windows and reads no array.
 */
import type { BatchArray, WeighedBatch } from './batch.ts';

/** Numbers of two or four bytes. */
export type WindowNumbers = Uint16Array | Uint32Array;

/** A copy of it by `...` is a batch like others. */
export class WindowBatch implements WeighedBatch {
  readonly sampleCount: number;
  readonly weight: number;
  declare readonly arrays: Readonly<Record<string, BatchArray>>;
  readonly #names: readonly [string, string];
  readonly #length: number;
  readonly #windows: WindowNumbers;

  /**
   * @param names of the arrays
   * @param windows [sampleCount, T + 1], row-major
   * @param length T
   */
  constructor(names: readonly [string, string], windows: WindowNumbers, length: number, weight: number) {
    this.#names = names;
    this.#windows = windows;
    this.#length = length;
    this.sampleCount = windows.length / (length + 1);
    this.weight = weight;
    let arrays: WindowBatch['arrays'] | undefined;
    // A property of its own, which is copied with the others.
    Object.defineProperty(this, 'arrays', {
      enumerable: true,
      get: () => {
        arrays ??= Object.fromEntries(names.map((name, shift) => [name, this.#arrayOf(shift)]));
        return arrays;
      },
    });
  }

  /** The arrays' names, their length, and the numbers of all windows. */
  get windows() {
    return { names: this.#names, length: this.#length, numbers: this.#windows };
  }

  #arrayOf(shift: number): BatchArray {
    const length = this.#length;
    const data = new Int32Array(this.sampleCount * length);
    for (let sample = 0; sample < this.sampleCount; sample++) {
      const from = sample * (length + 1) + shift;
      data.set(this.#windows.subarray(from, from + length), sample * length);
    }
    return { shape: [length], data };
  }
}
