/**
 * Counts each piece of a text, as split by GPT-2: all that the training of merges needs to know about a corpus. Memory is bounded: if the
 * distinct pieces have more than `unitsMax` characters in total, the rarest are forgotten until half of that remains. With spaces
 * between words this takes gigabytes of text; without (in Chinese, for example) pieces are entire clauses, and the counts are then
 * a sample of them plus the frequent ones.
 */
import { gpt2PieceEnd } from './gpt2PreTokenizer.ts';
import { PieceIndex } from './pieceIndex.ts';

const sliceUnits = 1 << 20;
const defaultUnitsMax = 1 << 24;

export class WordCounts {
  readonly #unitsMax: number;
  #pieces = new PieceIndex();
  /** By the piece's number; doubles are exact for any corpus. */
  #counts = new Float64Array(1 << 10);

  /** `unitsMax`: maximum total of UTF-16 units of all distinct pieces. */
  constructor(unitsMax = defaultUnitsMax) {
    this.#unitsMax = unitsMax;
  }

  /** Counts the pieces of a text; periodically yields the number of units done. */
  *addSteps(text: string): Generator<number, void> {
    for (let start = 0, nextYield = sliceUnits; start < text.length; ) {
      const end = gpt2PieceEnd(text, start);
      this.#count(text, start, end);
      start = end;
      if (start >= nextYield) {
        yield start;
        nextYield = start + sliceUnits;
      }
    }
  }

  #count(text: string, start: number, end: number): void {
    let piece = this.#pieces.find(text, start, end);
    if (piece < 0) {
      piece = this.#pieces.add(text, start, end);
      if (piece === this.#counts.length) {
        const grown = new Float64Array(2 * piece);
        grown.set(this.#counts);
        this.#counts = grown;
      }
      this.#counts[piece] = 0;
    }
    this.#counts[piece]!++;
    if (this.#pieces.units > this.#unitsMax) this.#forgetRarest();
  }

  /** Forgets the rarest pieces until half the limit remains; among equally rare ones, the earliest go first. */
  #forgetRarest(): void {
    const all = [...this.entries()];
    const unitsByCount = new Map<number, number>();
    for (const [piece, count] of all) unitsByCount.set(count, (unitsByCount.get(count) ?? 0) + piece.length);
    let excess = this.#pieces.units - this.#unitsMax / 2;
    /** Pieces with this count are partly forgotten, rarer ones entirely. */
    let rarest = 0;
    for (const [count, units] of [...unitsByCount].sort(([a], [b]) => a - b)) {
      rarest = count;
      if (units > excess) break;
      excess -= units;
    }
    const kept = new PieceIndex();
    const counts = new Float64Array(this.#counts.length);
    for (const [piece, count] of all) {
      if (count < rarest) continue;
      if (count === rarest && excess > 0) {
        excess -= piece.length;
        continue;
      }
      kept.find(piece, 0, piece.length); // finds its slot
      counts[kept.add(piece, 0, piece.length)] = count;
    }
    this.#pieces = kept;
    this.#counts = counts;
  }

  /** Each distinct piece with its count, in order of first appearance. */
  *entries(): Generator<[piece: string, count: number]> {
    for (let piece = 0; piece < this.#pieces.size; piece++) yield [this.#pieces.textOf(piece), this.#counts[piece]!];
  }
}
