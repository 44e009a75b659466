/**
 * Which rows of a gradient belong to each token, as a program reads it. The rows of a token are summed in their order; those of a
 * frequent token in pieces of a fixed number of rows first, which many invocations sum at a time, then the pieces in their order.
 */
import type { RowPart } from './rowParts.ts';

/** Rows of a piece. */
const PIECE_ROWS = 64;
/** Words of one sum: the row it goes to, where the list of its rows starts, how many they are. */
export const SUM_WORDS = 3;

/** Sums whose words start at `first`. */
export interface Sums {
  readonly first: number;
  readonly sums: number;
}

export interface SumPlan {
  /** Empty if no token is in the part. */
  readonly words: Int32Array;
  /** Sums of rows, to rows of the table. */
  readonly direct: Sums;
  /** Sums of rows, to pieces. */
  readonly pieces: Sums;
  /** Sums of pieces, to rows of the table. */
  readonly ofPieces: Sums;
}

/** The plan for tokens of a part of the table; rows of the table count from the start of the part. */
export function planOfSums(tokens: Int32Array, { first, rows }: RowPart): SumPlan {
  const isIn = (token: number): boolean => token >= first && token < first + rows;
  const counts = new Int32Array(rows);
  let listed = 0;
  for (const token of tokens) {
    if (!isIn(token)) continue;
    counts[token - first]!++;
    listed++;
  }
  let [directs, pieces, multiples] = [0, 0, 0];
  for (const count of counts) {
    if (count === 0) continue;
    if (count <= PIECE_ROWS) directs++;
    else {
      multiples++;
      pieces += Math.ceil(count / PIECE_ROWS);
    }
  }
  const direct = { first: 0, sums: directs };
  const inPieces = { first: SUM_WORDS * directs, sums: pieces };
  const ofPieces = { first: SUM_WORDS * (directs + pieces), sums: multiples };
  const listStart = SUM_WORDS * (directs + pieces + multiples);
  const words = new Int32Array(listed === 0 ? 0 : listStart + listed + pieces);
  const [putDirect, putPiece, putMultiple] = [direct, inPieces, ofPieces].map((sums) => writer(words, sums.first)) as [
    Writer,
    Writer,
    Writer,
  ];
  /** Where the next row of each token goes. */
  const next = new Int32Array(rows);
  let [start, piece] = [listStart, 0];
  for (const [row, count] of counts.entries()) {
    if (count === 0) continue;
    next[row] = start;
    if (count <= PIECE_ROWS) putDirect(row, start, count);
    else {
      const ownPieces = Math.ceil(count / PIECE_ROWS);
      putMultiple(row, listStart + listed + piece, ownPieces);
      for (let from = 0; from < count; from += PIECE_ROWS) {
        words[listStart + listed + piece] = piece;
        putPiece(piece++, start + from, Math.min(PIECE_ROWS, count - from));
      }
    }
    start += count;
  }
  for (const [i, token] of tokens.entries()) if (isIn(token)) words[next[token - first]!++] = i;
  return { words, direct, pieces: inPieces, ofPieces };
}

type Writer = (to: number, start: number, count: number) => void;

function writer(words: Int32Array, first: number): Writer {
  let at = first;
  return (to, start, count) => {
    words.set([to, start, count], at);
    at += SUM_WORDS;
  };
}
