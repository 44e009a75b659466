/**
 * Byte-pair merging: turns the bytes of one piece of text into tokens, using a table of merges ordered by rank. It does not handle
 * text, vocabulary files or special tokens. Method: Sennrich, Haddow and Birch 2016, https://arxiv.org/abs/1508.07909.
 *
 * The merge of lowest rank is applied first, and the leftmost among equals. Long pieces (a megabyte of letters without a space) use a
 * heap, so the time is O(n log n) in the piece and linear in the text; the plain loop would be quadratic.
 */
import { invariant } from '../../base/errors.ts';
import { PairTable } from './pairTable.ts';

/** Above this number of bytes, the heap is faster than checking every pair after every merge. */
const plainLoopBytesMax = 120;
const none = -1;
const noRank = 0x7fff_ffff;

export class BytePairs {
  /** Token of each single byte. */
  readonly byteTokens: Uint32Array;
  readonly #ranks: PairTable;
  /** Token by rank. */
  readonly #merged: number[] = [];
  // For the plain loop: the piece's tokens, and the rank of each with its successor.
  readonly #tokens = new Int32Array(plainLoopBytesMax);
  readonly #pairRanks = new Int32Array(plainLoopBytesMax);

  /** `merges` is the number of {@link add} calls to come, so that memory is allocated once. */
  constructor(byteTokens: Uint32Array, merges?: number) {
    this.byteTokens = byteTokens;
    this.#ranks = new PairTable(merges);
  }

  /** Makes `left` followed by `right` the token `merged`. Earlier calls have lower ranks, which are applied first. */
  add(left: number, right: number, merged: number): void {
    this.#ranks.set(left, right, this.#merged.length);
    this.#merged.push(merged);
  }

  /** The tokens of one piece, given as UTF-8. The next call overwrites their memory. */
  encode(bytes: Uint8Array): Int32Array {
    return bytes.length <= plainLoopBytesMax ? this.#encodeShort(bytes) : this.#encodeLong(bytes);
  }

  #encodeShort(bytes: Uint8Array): Int32Array {
    const tokens = this.#tokens;
    const ranks = this.#pairRanks;
    let count = bytes.length;
    for (let i = 0; i < count; i++) tokens[i] = this.byteTokens[bytes[i]!]!;
    for (let i = 0; i < count; i++) ranks[i] = i + 1 < count ? this.#rank(tokens[i]!, tokens[i + 1]!) : noRank;
    for (;;) {
      let best = 0;
      for (let i = 1; i < count; i++) if (ranks[i]! < ranks[best]!) best = i;
      if (count === 0 || ranks[best] === noRank) return tokens.subarray(0, count);
      tokens[best] = this.#merged[ranks[best]!]!;
      count--;
      for (let i = best + 1; i < count; i++) {
        tokens[i] = tokens[i + 1]!;
        ranks[i] = ranks[i + 1]!;
      }
      ranks[best] = best + 1 < count ? this.#rank(tokens[best]!, tokens[best + 1]!) : noRank;
      if (best > 0) ranks[best - 1] = this.#rank(tokens[best - 1]!, tokens[best]!);
    }
  }

  #rank(left: number, right: number): number {
    const rank = this.#ranks.get(left, right);
    return rank < 0 ? noRank : rank;
  }

  /** A linked list of the tokens and a heap of the possible merges; outdated entries are skipped. */
  #encodeLong(bytes: Uint8Array): Int32Array {
    const count = bytes.length;
    const tokens = new Int32Array(count);
    const next = new Int32Array(count);
    const previous = new Int32Array(count);
    for (let i = 0; i < count; i++) {
      tokens[i] = this.byteTokens[bytes[i]!]!;
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    const heap = new MinHeap();
    const offer = (left: number, right: number): void => {
      const rank = this.#ranks.get(tokens[left]!, tokens[right]!);
      // Rank first, then position; a double holds both exactly.
      if (rank >= 0) heap.push(rank * 2 ** 32 + left);
    };
    for (let i = 0; i + 1 < count; i++) offer(i, i + 1);
    for (let entry = heap.pop(); entry !== undefined; entry = heap.pop()) {
      const rank = Math.floor(entry / 2 ** 32);
      const left = entry - rank * 2 ** 32;
      const right = next[left]!;
      const current = tokens[left] !== none && right < count;
      if (!current || this.#ranks.get(tokens[left]!, tokens[right]!) !== rank) continue;
      tokens[left] = this.#merged[rank]!;
      tokens[right] = none;
      const before = previous[left]!;
      const after = next[right]!;
      next[left] = after;
      if (before >= 0) offer(before, left);
      if (after < count) {
        previous[after] = left;
        offer(left, after);
      }
    }
    let kept = 0;
    for (let i = 0; i < count; i = next[i]!) tokens[kept++] = tokens[i]!;
    return tokens.subarray(0, kept);
  }
}

/** A binary heap of numbers with the smallest on top. */
class MinHeap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let i = items.length;
    items.push(item);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = items[parent]!;
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
      if (child + 1 < items.length && items[child + 1]! < items[child]!) child++;
      if (items[child]! >= last) break;
      items[i] = items[child]!;
      i = child;
    }
    items[i] = last;
    return top;
  }
}

/**
 * Finds the merges behind a vocabulary that is ordered by rank: merging a token's bytes with all lower tokens gives exactly two, and
 * those are its merge. `tokens[id]` are a token's bytes; the first 256 are the single bytes.
 */
export function mergesOfRanks(tokens: readonly Uint8Array[]): [number, number][] {
  const byteTokens = new Uint32Array(256);
  for (let id = 0; id < 256; id++) byteTokens[tokens[id]?.[0] ?? 0] = id;
  const pairs = new BytePairs(byteTokens, tokens.length);
  const merges: [number, number][] = [];
  for (let id = 256; id < tokens.length; id++) {
    const [left, right, third] = pairs.encode(tokens[id]!);
    invariant(
      left !== undefined && right !== undefined && third === undefined,
      `token ${id} is not a merge of two lower ones`,
    );
    pairs.add(left, right, id);
    merges.push([left, right]);
  }
  return merges;
}
