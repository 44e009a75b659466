/**
 * Splits text into pieces before byte-pair encoding: no merge ever crosses a piece. Each pattern is a scanner, because a
 * regular expression needs backtracking space for every character of a long run, and fails on megabytes of it.
 */
import { gpt2PieceEnd } from './gpt2PreTokenizer.ts';
import { cl100kPieceEnd, o200kPieceEnd } from './tiktokenPreTokenizers.ts';

export type Splitting = 'gpt2' | 'cl100k' | 'o200k' | 'none';

/** The end of the piece that starts at `start`, in UTF-16 units; `start` must be below the length. Linear over an entire text. */
export type PieceEnd = (text: string, start: number) => number;

export const pieceEnds: Readonly<Record<Splitting, PieceEnd>> = {
  gpt2: gpt2PieceEnd,
  cl100k: cl100kPieceEnd,
  o200k: o200kPieceEnd,
  none: (text) => text.length,
};
