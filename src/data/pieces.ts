/**
 * Splits text the way GPT-2 does before byte-pair encoding: contractions, words, numbers and other symbols with the space before
 * them, and white space. No merge ever crosses a piece.
 *
 * It matches the pattern of GPT-2's encoder (https://github.com/openai/gpt-2/blob/master/src/encoder.py)
 * `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, written as a scanner: a regular expression needs
 * backtracking space for every character of a long run and fails on megabytes of it, and its `\s` in JavaScript is not Unicode's
 * White_Space, which the pattern means.
 */

const letter = 1;
const number = 2;
const space = 3;
const other = 4;

/** Class by code point, filled as characters are met; 0 is not met yet. */
const classes = new Uint8Array(0x11_0000);

function classify(codePoint: number): number {
  const character = String.fromCodePoint(codePoint);
  if (/\p{L}/u.test(character)) return letter;
  if (/\p{N}/u.test(character)) return number;
  return /\p{White_Space}/u.test(character) ? space : other;
}

function classAt(text: string, index: number): number {
  const codePoint = text.codePointAt(index) as number;
  let found = classes[codePoint] as number;
  if (found === 0) {
    found = classify(codePoint);
    classes[codePoint] = found;
  }
  return found;
}

/** The end of the run of characters of class `kind` that starts at `start`. */
function runEnd(text: string, start: number, kind: number): number {
  let index = start;
  while (index < text.length && classAt(text, index) === kind) {
    index += (text.codePointAt(index) as number) > 0xffff ? 2 : 1;
  }
  return index;
}

const apostrophe = 0x27;
const blank = 0x20;

/** The end of the contraction (`'s`, `'re`, ...) that starts at `start`, or `start` if none does. */
function contractionEnd(text: string, start: number): number {
  const one = text[start + 1];
  if (one === 's' || one === 't' || one === 'm' || one === 'd') return start + 2;
  const two = text.slice(start + 1, start + 3);
  return two === 're' || two === 've' || two === 'll' ? start + 3 : start;
}

/** The end of the piece that starts at `start`, in UTF-16 units; `start` must be below the length. Linear over a whole text. */
export function pieceEnd(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === apostrophe) {
    const end = contractionEnd(text, start);
    if (end > start) return end;
  }
  const kind = classAt(text, start);
  if (kind !== space) return runEnd(text, start, kind);
  if (first === blank && start + 1 < text.length) {
    const next = classAt(text, start + 1);
    if (next !== space) return runEnd(text, start + 1, next);
  }
  // The last white space before a word belongs to the word's piece (or, if it is no blank, is one of its own).
  const end = runEnd(text, start, space);
  return end === text.length || end === start + 1 ? end : end - 1;
}
