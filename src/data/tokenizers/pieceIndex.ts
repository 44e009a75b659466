/**
 * Numbers distinct pieces of text from 0 on: a hash table that compares keys as UTF-16 units within the text, so a known piece costs no
 * allocation. Most words of a text are repetitions, which makes both encoding and counting fast.
 */

const initialEntries = 1 << 10;
const initialUnits = 1 << 13;

export class PieceIndex {
  /** Number + 1 of a piece, by hash; open addressing, at most half full. 0 is free. */
  #slots = new Int32Array(2 * initialEntries);
  #hashes = new Int32Array(initialEntries);
  /** Piece p has the units from ends[p] to ends[p + 1]. */
  #ends = new Float64Array(initialEntries + 1);
  #units = new Uint16Array(initialUnits);
  #size = 0;
  // The position where the last search ended, for the addition that follows it.
  #hash = 0;
  #slot = 0;

  /** Number of pieces. */
  get size(): number {
    return this.#size;
  }

  /** Total number of UTF-16 units in all pieces. */
  get units(): number {
    return this.#ends[this.#size]!;
  }

  /** The number of the piece of `text` from `start` to `end`, or -1. */
  find(text: string, start: number, end: number): number {
    let hash = end - start;
    for (let index = start; index < end; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
    hash ^= hash >>> 15;
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const piece = this.#slots[slot]! - 1;
      if (piece >= 0 && (this.#hashes[piece] !== hash || !this.#matches(piece, text, start, end))) continue;
      this.#hash = hash;
      this.#slot = slot;
      return piece;
    }
  }

  #matches(piece: number, text: string, start: number, end: number): boolean {
    const from = this.#ends[piece]!;
    if (this.#ends[piece + 1]! - from !== end - start) return false;
    for (let index = start; index < end; index++) {
      if (this.#units[from + index - start] !== text.charCodeAt(index)) return false;
    }
    return true;
  }

  /** Adds the piece that the preceding {@link find} did not find; returns its number, the old {@link size}. */
  add(text: string, start: number, end: number): number {
    const from = this.units;
    const to = from + end - start;
    while (to > this.#units.length) this.#units = grown(this.#units, new Uint16Array(2 * this.#units.length));
    for (let index = start; index < end; index++) this.#units[from + index - start] = text.charCodeAt(index);
    const piece = this.#size++;
    this.#slots[this.#slot] = piece + 1;
    this.#hashes[piece] = this.#hash;
    this.#ends[piece + 1] = to;
    if (this.#size === this.#hashes.length) this.#makeRoom();
    return piece;
  }

  #makeRoom(): void {
    const entries = 2 * this.#hashes.length;
    this.#hashes = grown(this.#hashes, new Int32Array(entries));
    this.#ends = grown(this.#ends, new Float64Array(entries + 1));
    this.#slots = new Int32Array(2 * entries);
    const mask = this.#slots.length - 1;
    for (let piece = 0; piece < this.#size; piece++) {
      let slot = this.#hashes[piece]! & mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
      this.#slots[slot] = piece + 1;
    }
  }

  /** The piece with the given number. */
  textOf(piece: number): string {
    // Pieces can be as long as a text; String.fromCharCode takes its arguments on the stack.
    const units = this.#units.subarray(this.#ends[piece]!, this.#ends[piece + 1]!);
    let text = '';
    for (let from = 0; from < units.length; from += 8192) {
      text += String.fromCharCode(...units.subarray(from, from + 8192));
    }
    return text;
  }

  /** Forgets all pieces but keeps the memory. */
  clear(): void {
    this.#slots.fill(0);
    this.#size = 0;
  }
}

function grown<T extends Int32Array | Uint16Array | Float64Array>(before: T, after: T): T {
  after.set(before);
  return after;
}
