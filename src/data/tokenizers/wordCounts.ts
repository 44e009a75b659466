/**
 * How often each piece of a text occurs, as GPT-2 splits it: all that training of merges needs to know of a corpus. Bounded: when the
 * distinct pieces have more than `unitsMax` characters together, the rarest are forgotten, until half is left. With spaces between
 * words a corpus has to have gigabytes before that happens; without (Chinese, say) pieces are whole clauses, and what is kept
 * is a sample of them besides those that come often.
 */
import { gpt2PieceEnd } from './gpt2PreTokenizer.ts';
import { PieceIndex } from './pieceIndex.ts';

const sliceUnits = 1 << 20;
const defaultUnitsMax = 1 << 24;

export class WordCounts {
  readonly #unitsMax: number;
  #pieces = new PieceIndex();
  /** By number of the piece; doubles are exact beyond any corpus. */
  #counts = new Float64Array(1 << 10);

  /** `unitsMax`: UTF-16 units of all distinct pieces. */
  constructor(unitsMax = defaultUnitsMax) {
    this.#unitsMax = unitsMax;
  }

  /** Counts the pieces of a text; yields how many units are done now and then. */
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

  /** Until half of the bound is left; of pieces that are equally rare those that came first are forgotten first. */
  #forgetRarest(): void {
    const all = [...this.entries()];
    const unitsByCount = new Map<number, number>();
    for (const [piece, count] of all) unitsByCount.set(count, (unitsByCount.get(count) ?? 0) + piece.length);
    let excess = this.#pieces.units - this.#unitsMax / 2;
    /** Pieces of this count are forgotten in part, rarer ones all. */
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
      kept.find(piece, 0, piece.length); // which says where it goes
      counts[kept.add(piece, 0, piece.length)] = count;
    }
    this.#pieces = kept;
    this.#counts = counts;
  }

  /** Each distinct piece with its count, in the order in which they first came. */
  *entries(): Generator<[piece: string, count: number]> {
    for (let piece = 0; piece < this.#pieces.size; piece++) yield [this.#pieces.textOf(piece), this.#counts[piece]!];
  }
}
