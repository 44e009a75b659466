/** Token ids in the smallest integer type that fits the vocabulary, and a buffer that grows while a text is encoded. */

/** Uint16Array for vocabularies of at most 65,536 tokens, otherwise Uint32Array. */
export type TokenArray = Uint16Array | Uint32Array;

/** Tokens that are read by window: an array in memory, or shards on disk. They never change. */
export interface TokenSequence {
  /** Number of tokens. */
  readonly length: number;
  /** The tokens [from, to), which must be within the sequence. */
  subarray(from: number, to: number): TokenArray;
  /** The same, synchronously; absent for sequences on disk. */
  readonly read?: (from: number, to: number) => Promise<TokenArray>;
  /** Begins to fetch tokens that will be read; absent for sequences that are nearby. */
  readonly prefetch?: (from: number, to: number) => void;
}

const uint16Max = 65_536;

/** An array of `length` zeros that can hold any id of a vocabulary of this size. */
export function newTokenArray(vocabSize: number, length: number): TokenArray {
  return vocabSize <= uint16Max ? new Uint16Array(length) : new Uint32Array(length);
}

/** Collects tokens; doubles its storage when full, so that n pushes take O(n). */
export class TokenBuffer {
  length = 0;
  #storage: TokenArray;
  readonly #vocabSize: number;

  constructor(vocabSize: number, capacity = 1024) {
    this.#vocabSize = vocabSize;
    this.#storage = newTokenArray(vocabSize, Math.max(1, capacity));
  }

  push(token: number): void {
    if (this.length === this.#storage.length) {
      const grown = newTokenArray(this.#vocabSize, 2 * this.length);
      grown.set(this.#storage);
      this.#storage = grown;
    }
    this.#storage[this.length++] = token;
  }

  /** The tokens so far, in storage of exactly their size. */
  take(): TokenArray {
    return this.#storage.slice(0, this.length);
  }
}

/** The tokens that an encoding in slices returns at its end. */
export function encodeAtOnce(steps: Iterator<number, TokenArray>): TokenArray {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}
