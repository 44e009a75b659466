/** Encodes pieces of text by byte-pair merging, and remembers the results. */
import type { TokenBuffer } from '../tokenArray.ts';
import type { BytePairs } from './bytePairs.ts';
import { PieceIndex } from './pieceIndex.ts';

/** Longer pieces are rarely repeated. */
const rememberedUnitsMax = 64;
/** With more pieces it forgets all of them: memory is bounded, and the words in use return soon. */
const rememberedMax = 1 << 17;

export class PieceEncoder {
  readonly #pairs: BytePairs;
  readonly #utf8 = new TextEncoder();
  readonly #bytes = new Uint8Array(3 * rememberedUnitsMax);
  readonly #known = new PieceIndex();
  /** The tokens of piece p are tokens[starts[p]] to tokens[starts[p + 1] - 1]. */
  readonly #starts = new Uint32Array(rememberedMax + 1);
  #tokens = new Uint32Array(1 << 12);

  constructor(pairs: BytePairs) {
    this.#pairs = pairs;
  }

  /** Appends the tokens of the piece of `text` from `start` to `end` to `out`. */
  encode(text: string, start: number, end: number, out: TokenBuffer): void {
    if (end - start > rememberedUnitsMax) {
      for (const token of this.#pairs.encode(this.#utf8.encode(text.slice(start, end)))) out.push(token);
      return;
    }
    let piece = this.#known.find(text, start, end);
    if (piece < 0) piece = this.#learn(text, start, end);
    const to = this.#starts[piece + 1]!;
    for (let index = this.#starts[piece]!; index < to; index++) out.push(this.#tokens[index]!);
  }

  #learn(text: string, start: number, end: number): number {
    if (this.#known.size === rememberedMax) {
      this.#known.clear();
      this.#known.find(text, start, end);
    }
    const { written } = this.#utf8.encodeInto(text.slice(start, end), this.#bytes);
    const tokens = this.#pairs.encode(this.#bytes.subarray(0, written));
    const piece = this.#known.add(text, start, end);
    const from = this.#starts[piece]!;
    const to = from + tokens.length;
    if (to > this.#tokens.length) {
      const grown = new Uint32Array(2 * this.#tokens.length);
      grown.set(this.#tokens);
      this.#tokens = grown;
    }
    this.#tokens.set(tokens, from);
    this.#starts[piece + 1] = to;
    return piece;
  }
}
