/**
 * GPT-2's splitting: contractions; words, numbers and other symbols, each with the space before them; and white space. Its encoder's
 * pattern (https://github.com/openai/gpt-2/blob/master/src/encoder.py),
 * `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, as a scanner.
 */
import { classAt, letter, runEnd, space, symbol } from './characterClasses.ts';

const apostrophe = 0x27;
const blank = 0x20;

/** The end of the piece that starts at `start`, in UTF-16 units; `start` must be below the length. */
export function gpt2PieceEnd(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === apostrophe) {
    const end = contractionEnd(text, start);
    if (end > start) return end;
  }
  const kind = classAt(text, start);
  if (kind !== space) return runEnd(text, start, runMask(kind));
  if (first === blank && start + 1 < text.length) {
    const next = classAt(text, start + 1);
    if (next !== space) return runEnd(text, start + 1, runMask(next));
  }
  return beforeWord(text, start, runEnd(text, start, space));
}

/** The classes that stay in one piece with a character of the class `kind`. */
function runMask(kind: number): number {
  if ((kind & letter) !== 0) return letter;
  return (kind & symbol) !== 0 ? symbol : kind;
}

/**
 * `\s+(?!\S)|\s` for a run of white space from `start` to `end`: its last character belongs to the piece of the next word, or is its
 * own piece if that piece does not include such a space.
 */
export function beforeWord(text: string, start: number, end: number): number {
  return end === text.length || end === start + 1 ? end : end - 1;
}

/** The end of the contraction (`'s`, `'re`, ...) that starts at `start`, or `start` if there is none. */
function contractionEnd(text: string, start: number): number {
  const one = text[start + 1];
  if (one === 's' || one === 't' || one === 'm' || one === 'd') return start + 2;
  const two = text.slice(start + 1, start + 3);
  return two === 're' || two === 've' || two === 'll' ? start + 3 : start;
}
