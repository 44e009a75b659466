/**
 * Finds the merges of a byte-pair encoding by repeatedly merging the most frequent pair of adjacent tokens in the counted words.
 * Among equally frequent pairs it takes the one with the smaller left id, then the smaller right id, like Hugging Face's trainer
 * (https://github.com/huggingface/tokenizers/blob/main/tokenizers/src/models/bpe/trainer.rs). In a run of equal tokens, pairs are
 * replaced from the left; overlapping pairs all count.
 *
 * Every pair knows its occurrences, so the cost of a merge is the number of changes, for words of any length. An occurrence is the
 * position of the pair's left token. A position has one pair at a time, so the lists of all pairs need two links per position.
 */
import { PairTable } from './pairTable.ts';
import type { WordCounts } from './wordCounts.ts';

const none = -1;

export class MergeTrainer {
  // By position: all words in sequence, with each token at its first byte. `before` and `after` are its neighbours in the word.
  readonly #token: Int32Array;
  readonly #before: Int32Array;
  readonly #after: Int32Array;
  readonly #word: Int32Array;
  readonly #pairAt: Int32Array;
  readonly #listBefore: Int32Array;
  readonly #listAfter: Int32Array;
  /** Number of occurrences of each word. */
  readonly #wordCounts: Float64Array;

  // By pair, numbered in order of first appearance.
  readonly #numbers = new PairTable();
  readonly #left: number[] = [];
  readonly #right: number[] = [];
  readonly #counts: number[] = [];
  readonly #first: number[] = [];
  readonly #last: number[] = [];

  readonly #heap: PairHeap;
  #nextToken = 256;

  /** `byteTokens[byte]` are the ids 0 to 255; merges get the ids from 256 on. */
  constructor(words: WordCounts, byteTokens: Uint32Array) {
    const utf8 = new TextEncoder();
    const bytes: Uint8Array[] = [];
    const counts: number[] = [];
    for (const [word, count] of words.entries()) {
      bytes.push(utf8.encode(word));
      counts.push(count);
    }
    const size = bytes.reduce((sum, word) => sum + word.length, 0);
    this.#wordCounts = Float64Array.from(counts);
    this.#token = new Int32Array(size);
    this.#word = new Int32Array(size);
    this.#before = new Int32Array(size);
    this.#after = new Int32Array(size);
    this.#pairAt = new Int32Array(size).fill(none);
    this.#listBefore = new Int32Array(size);
    this.#listAfter = new Int32Array(size);
    let position = 0;
    for (const [word, wordBytes] of bytes.entries()) {
      for (const [index, byte] of wordBytes.entries()) {
        this.#token[position] = byteTokens[byte]!;
        this.#word[position] = word;
        this.#before[position] = index === 0 ? none : position - 1;
        this.#after[position] = index + 1 === wordBytes.length ? none : position + 1;
        position++;
      }
    }
    for (let at = 0; at < size; at++) this.#link(at);
    this.#heap = new PairHeap((a, b) => this.#goesFirst(a, b));
    for (let pair = 0; pair < this.#counts.length; pair++) this.#heap.push(pair, this.#counts[pair]!);
  }

  /** Applies the next merge and returns its left and right tokens. Undefined when no two tokens are adjacent. */
  next(): [left: number, right: number] | undefined {
    for (;;) {
      const top = this.#heap.top();
      if (top === undefined) return undefined;
      const count = this.#counts[top.pair]!;
      if (count > 0 && count < top.count) {
        // Later merges have taken some of its occurrences.
        this.#heap.lower(count);
        continue;
      }
      this.#heap.pop();
      if (count === 0) continue;
      this.#merge(top.pair);
      return [this.#left[top.pair]!, this.#right[top.pair]!];
    }
  }

  /** The order of equally frequent pairs. */
  #goesFirst(a: number, b: number): boolean {
    const left = this.#left[a]! - this.#left[b]!;
    return left !== 0 ? left < 0 : this.#right[a]! < this.#right[b]!;
  }

  #merge(pair: number): void {
    const merged = this.#nextToken++;
    const pairsBefore = this.#counts.length;
    // All occurrences of a pair were added with its newer token, from left to right, so the first is the leftmost.
    for (let at = this.#first[pair]!; at !== none; at = this.#first[pair]!) {
      const before = this.#before[at]!;
      const second = this.#after[at]!;
      const after = this.#after[second]!;
      this.#unlink(at);
      this.#unlink(second);
      if (before !== none) this.#unlink(before);
      this.#token[at] = merged;
      this.#after[at] = after;
      if (after !== none) this.#before[after] = at;
      if (before !== none) this.#link(before);
      this.#link(at);
    }
    // Pairs with the new token are new; all others have only lost occurrences.
    for (let added = pairsBefore; added < this.#counts.length; added++) {
      const count = this.#counts[added]!;
      if (count > 0) this.#heap.push(added, count);
    }
  }

  /** Adds the occurrence at `at`, unless the word ends there. */
  #link(at: number): void {
    const after = this.#after[at]!;
    if (after === none) return;
    const pair = this.#numberOf(this.#token[at]!, this.#token[after]!);
    const last = this.#last[pair]!;
    this.#pairAt[at] = pair;
    this.#listBefore[at] = last;
    this.#listAfter[at] = none;
    if (last === none) this.#first[pair] = at;
    else this.#listAfter[last] = at;
    this.#last[pair] = at;
    this.#counts[pair]! += this.#wordCounts[this.#word[at]!]!;
  }

  /** Removes the occurrence at `at`, if any. */
  #unlink(at: number): void {
    const pair = this.#pairAt[at]!;
    if (pair === none) return;
    const before = this.#listBefore[at]!;
    const after = this.#listAfter[at]!;
    if (before === none) this.#first[pair] = after;
    else this.#listAfter[before] = after;
    if (after === none) this.#last[pair] = before;
    else this.#listBefore[after] = before;
    this.#pairAt[at] = none;
    this.#counts[pair]! -= this.#wordCounts[this.#word[at]!]!;
  }

  #numberOf(left: number, right: number): number {
    const known = this.#numbers.get(left, right);
    if (known >= 0) return known;
    const pair = this.#counts.length;
    this.#numbers.set(left, right, pair);
    this.#left.push(left);
    this.#right.push(right);
    this.#counts.push(0);
    this.#first.push(none);
    this.#last.push(none);
    return pair;
  }
}

/** A binary heap of pairs with the highest count on top. */
class PairHeap {
  readonly #pairs: number[] = [];
  /** Counts at insertion; the current ones may be lower. */
  readonly #counts: number[] = [];
  readonly #goesFirst: (a: number, b: number) => boolean;

  /** `goesFirst` decides between pairs of equal counts. */
  constructor(goesFirst: (a: number, b: number) => boolean) {
    this.#goesFirst = goesFirst;
  }

  top(): { readonly pair: number; readonly count: number } | undefined {
    const [pair] = this.#pairs;
    return pair === undefined ? undefined : { pair, count: this.#counts[0]! };
  }

  push(pair: number, count: number): void {
    let index = this.#pairs.length;
    this.#pairs.push(pair);
    this.#counts.push(count);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#isAbove(pair, count, parent)) break;
      this.#move(parent, index);
      index = parent;
    }
    this.#set(index, pair, count);
  }

  /** Lowers the count of the top pair. */
  lower(count: number): void {
    this.#sink(this.#pairs[0]!, count);
  }

  pop(): void {
    const pair = this.#pairs.pop();
    const count = this.#counts.pop();
    if (pair !== undefined && count !== undefined && this.#pairs.length > 0) this.#sink(pair, count);
  }

  /** Sifts the pair down from the top, whose slot is free. */
  #sink(pair: number, count: number): void {
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= this.#pairs.length) break;
      if (child + 1 < this.#pairs.length && this.#isAbove(this.#pairs[child + 1]!, this.#counts[child + 1]!, child))
        child++;
      if (this.#isAbove(pair, count, child)) break;
      this.#move(child, index);
      index = child;
    }
    this.#set(index, pair, count);
  }

  /** Whether the pair belongs above the one at `index`. */
  #isAbove(pair: number, count: number, index: number): boolean {
    const other = this.#counts[index]!;
    return count !== other ? count > other : this.#goesFirst(pair, this.#pairs[index]!);
  }

  #move(from: number, to: number): void {
    this.#set(to, this.#pairs[from]!, this.#counts[from]!);
  }

  #set(index: number, pair: number, count: number): void {
    this.#pairs[index] = pair;
    this.#counts[index] = count;
  }
}
