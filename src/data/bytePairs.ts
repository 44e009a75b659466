/**
 * Byte-pair merging: the bytes of one piece of text to tokens, by a table of merges ordered by rank. It knows no text, no
 * vocabulary file and no special tokens. Source of the method: Sennrich, Haddow and Birch 2016, https://arxiv.org/abs/1508.07909.
 *
 * The merge of lowest rank goes first, the leftmost of equals. Long pieces (a megabyte of letters without a space) use a heap, so
 * the time is O(n log n) in the piece and linear in the text, where the plain loop would be quadratic.
 */
import { invariant } from '../base/errors.ts';

/** Above this many bytes the heap is faster than looking at every pair after every merge. */
const plainLoopBytesMax = 48;
const none = -1;

export class BytePairs {
  /** Token of each single byte. */
  readonly byteTokens: Uint16Array;
  // An open-addressed hash table from a pair of tokens to the merged token: faster than a Map, whose keys would be heap numbers.
  readonly #keys: Int32Array;
  readonly #merged: Int32Array;
  readonly #mask: number;

  /** `mergesMax` bounds how many merges {@link add} may be given; tokens are below 65,536. */
  constructor(byteTokens: Uint16Array, mergesMax: number) {
    this.byteTokens = byteTokens;
    const slots = 2 ** Math.ceil(Math.log2(2 * mergesMax + 1));
    this.#keys = new Int32Array(slots);
    this.#merged = new Int32Array(slots).fill(none);
    this.#mask = slots - 1;
  }

  /** Makes `left` followed by `right` one token. A merge's rank is its token id: lower ids merge first. */
  add(left: number, right: number, merged: number): void {
    const key = (left << 16) | right;
    let slot = this.#slot(key);
    while (this.#merged[slot] !== none) slot = (slot + 1) & this.#mask;
    this.#keys[slot] = key;
    this.#merged[slot] = merged;
  }

  /** The token that the pair merges to, or -1. */
  #find(left: number, right: number): number {
    const key = (left << 16) | right;
    let slot = this.#slot(key);
    while (this.#merged[slot] !== none && this.#keys[slot] !== key) slot = (slot + 1) & this.#mask;
    return this.#merged[slot] as number;
  }

  #slot(key: number): number {
    const mixed = Math.imul(key ^ (key >>> 15), 0x2c1b3c6d);
    return (mixed ^ (mixed >>> 13)) & this.#mask;
  }

  /** The tokens of one piece, given as UTF-8. */
  encode(bytes: Uint8Array): number[] {
    return bytes.length <= plainLoopBytesMax ? this.#encodeShort(bytes) : this.#encodeLong(bytes);
  }

  #encodeShort(bytes: Uint8Array): number[] {
    const tokens = Array.from(bytes, (byte) => this.byteTokens[byte] as number);
    for (;;) {
      let best = -1;
      let bestMerged = Number.POSITIVE_INFINITY;
      for (let i = 0; i + 1 < tokens.length; i++) {
        const merged = this.#find(tokens[i] as number, tokens[i + 1] as number);
        if (merged !== none && merged < bestMerged) {
          best = i;
          bestMerged = merged;
        }
      }
      if (best < 0) return tokens;
      tokens.splice(best, 2, bestMerged);
    }
  }

  /** A linked list of the tokens, and a heap of the merges that are possible; entries that are out of date are skipped. */
  #encodeLong(bytes: Uint8Array): number[] {
    const count = bytes.length;
    const tokens = Int32Array.from(bytes, (byte) => this.byteTokens[byte] as number);
    const next = Int32Array.from({ length: count }, (_, i) => i + 1);
    const previous = Int32Array.from({ length: count }, (_, i) => i - 1);
    const heap = new MinHeap();
    const offer = (left: number): void => {
      const right = left < 0 ? count : (next[left] as number);
      if (right >= count) return;
      const merged = this.#find(tokens[left] as number, tokens[right] as number);
      // Rank first, then position: both exact in a double.
      if (merged !== none) heap.push(merged * 2 ** 32 + left);
    };
    for (let i = 0; i + 1 < count; i++) offer(i);
    for (let entry = heap.pop(); entry !== undefined; entry = heap.pop()) {
      const merged = Math.floor(entry / 2 ** 32);
      const left = entry % 2 ** 32;
      const right = next[left] as number;
      const current = tokens[left] !== none && right < count;
      if (!current || this.#find(tokens[left] as number, tokens[right] as number) !== merged) continue;
      tokens[left] = merged;
      tokens[right] = none;
      const after = next[right] as number;
      next[left] = after;
      if (after < count) previous[after] = left;
      offer(previous[left] as number);
      offer(left);
    }
    return Array.from(tokens.filter((token) => token !== none));
  }
}

/** A binary heap of numbers, the smallest on top. */
class MinHeap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let i = items.length;
    items.push(item);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = items[parent] as number;
      if (above <= item) break;
      items[i] = above;
      i = parent;
    }
    items[i] = item;
  }

  pop(): number | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && (items[child + 1] as number) < (items[child] as number)) child++;
      if ((items[child] as number) >= last) break;
      items[i] = items[child] as number;
      i = child;
    }
    items[i] = last;
    return top;
  }
}

/**
 * Finds the merges behind a vocabulary that is ordered by rank: with the merges of all lower tokens, the bytes of a token come out
 * as exactly two, and those are its merge. `tokens[id]` are a token's bytes; the first 256 are the single bytes.
 */
export function mergesOfVocabulary(tokens: readonly Uint8Array[]): { pairs: BytePairs; merges: [number, number][] } {
  const byteTokens = new Uint16Array(256);
  for (let id = 0; id < 256; id++) byteTokens[tokens[id]?.[0] ?? 0] = id;
  const pairs = new BytePairs(byteTokens, tokens.length);
  const merges: [number, number][] = [];
  for (let id = 256; id < tokens.length; id++) {
    const parts = pairs.encode(tokens[id] as Uint8Array);
    const [left, right] = parts;
    invariant(
      left !== undefined && right !== undefined && parts.length === 2,
      `token ${id} is not a merge of two lower ones`,
    );
    pairs.add(left, right, id);
    merges.push([left, right]);
  }
  return { pairs, merges };
}
