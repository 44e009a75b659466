/** Lines of styled pieces that are cut to a width in terminal cells; bars and sparklines. Pure. */
import stringWidth from 'string-width';
import { paint, type Style } from '../terminal.ts';

export interface Piece {
  readonly text: string;
  readonly style?: Style | undefined;
}

/** One row of the terminal. */
export type Line = readonly Piece[];

const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
const ellipsis = '…';
/** Letters and the characters of bars, rules and curves: one cell each. */
const allSingle = /^[ -~…─▁-█░▒▓]*$/;

/** The width in cells of a text without control characters. */
export function cellsOf(text: string): number {
  // The library examines every grapheme, which dominates the time of a frame.
  return allSingle.test(text) ? text.length : stringWidth(text);
}

/** A text on one row: newlines and tabs become spaces, and control sequences are removed. */
export function oneRow(text: string): string {
  return text
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/\p{Cc}/gu, '')
    .trim();
}

/** The text, cut with an ellipsis if it is wider than `cells`. */
export function truncated(text: string, cells: number): string {
  if (cells <= 0) return '';
  if (cellsOf(text) <= cells) return text;
  let kept = '';
  let used = 0;
  for (const { segment } of graphemes.segment(text)) {
    const width = cellsOf(segment);
    if (used + width > cells - 1) break;
    kept += segment;
    used += width;
  }
  return kept + ellipsis;
}

/** The pieces, cut at the width. */
export function fitted(line: Line, cells: number): Line {
  const fitting: Piece[] = [];
  let left = cells;
  for (const piece of line) {
    const text = truncated(piece.text, left);
    if (text !== '') fitting.push({ ...piece, text });
    left -= cellsOf(text);
    if (text !== piece.text) break;
  }
  return fitting;
}

export function plainText(line: Line): string {
  return line.map(({ text }) => text).join('');
}

/** The line as a string, optionally with colours. */
export function rendered(line: Line, colors: boolean): string {
  return line.map(({ text, style }) => (colors && style !== undefined ? paint(style, text) : text)).join('');
}

/** `██████░░░░`: `done` from 0 to 1. */
export function bar(done: number, cells: number): Line {
  const filled = Math.round(Math.min(1, Math.max(0, done)) * cells);
  return [
    { text: '█'.repeat(filled), style: 'green' },
    { text: '░'.repeat(Math.max(0, cells - filled)), style: 'dim' },
  ];
}

const levels = '▁▂▃▄▅▆▇█';

/** The values, oldest first, in at most `cells` cells. Each cell shows the mean of its values, scaled between their minimum and maximum. */
export function sparkline(values: readonly number[], cells: number): string {
  const finite = values.filter(Number.isFinite);
  const count = Math.min(cells, finite.length);
  if (count <= 0) return '';
  const means = Array.from({ length: count }, (_, i) => {
    const part = finite.slice(Math.floor((i * finite.length) / count), Math.floor(((i + 1) * finite.length) / count));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const least = Math.min(...means);
  const range = Math.max(...means) - least;
  const levelOf = (mean: number) => (range > 0 ? Math.round(((mean - least) / range) * (levels.length - 1)) : 0);
  return means.map((mean) => levels[levelOf(mean)]).join('');
}

/** Integer lengths that add up to `cells`, in proportion to the shares. */
export function apportioned(shares: readonly number[], cells: number): number[] {
  const total = shares.reduce((sum, share) => sum + share, 0);
  if (total <= 0) return shares.map(() => 0);
  let sum = 0;
  let given = 0;
  return shares.map((share) => {
    sum += share;
    const upTo = Math.round((sum / total) * cells);
    const length = upTo - given;
    given = upTo;
    return length;
  });
}
