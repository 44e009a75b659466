/**
 * The splitting of OpenAI's later encodings, cl100k_base and o200k_base, as scanners. The patterns are tiktoken's
 * (https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py), without the parts that only affect speed.
 */
import {
  caseless,
  classAt,
  letter,
  lower,
  mark,
  number,
  runEnd,
  space,
  symbol,
  unitsAt,
  upper,
} from './characterClasses.ts';
import { beforeWord } from './gpt2PreTokenizer.ts';

/** The pattern of {@link cl100kPieceEnd}. `\s+(?![\s\S])` is white space at the end of the text, in any dialect. */
export const cl100kPattern = [
  "'(?i:[sdmt]|ll|ve|re)",
  '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+',
  '\\p{N}{1,3}',
  ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*',
  '\\s+(?![\\s\\S])',
  '\\s*[\\r\\n]',
  '\\s+(?!\\S)',
  '\\s',
].join('|');

/** The pattern of {@link o200kPieceEnd}. */
export const o200kPattern = [
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
  '\\p{N}{1,3}',
  ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*',
  '\\s*[\\r\\n]+',
  '\\s+(?!\\S)',
  '\\s+',
].join('|');

const apostrophe = 0x27;
const blank = 0x20;
const carriageReturn = 0x0d;
const lineFeed = 0x0a;
const slash = 0x2f;
const digitsMax = 3;

/** The end of the piece that starts at `start`, in UTF-16 units; `start` must be below the length. */
export function cl100kPieceEnd(text: string, start: number): number {
  const contraction = contractionEnd(text, start);
  if (contraction > start) return contraction;
  const kind = classAt(text, start);
  const from = wordStart(text, start, kind);
  const word = runEnd(text, from, letter);
  if (word > from) return word;
  if (kind === number) return numberEnd(text, start);
  const symbols = symbolsEnd(text, start, false);
  if (symbols > start) return symbols;
  const spaces = runEnd(text, start, space);
  if (spaces === text.length) return spaces;
  return linesEnd(text, start, spaces) || beforeWord(text, start, spaces);
}

/** The end of the piece that starts at `start`, in UTF-16 units; `start` must be below the length. */
export function o200kPieceEnd(text: string, start: number): number {
  const kind = classAt(text, start);
  const from = wordStart(text, start, kind);
  const word = casedWordEnd(text, from);
  if (word > from) return contractionEnd(text, word);
  // A mark without a following word is a word.
  if (kind === mark) return contractionEnd(text, from);
  if (kind === number) return numberEnd(text, start);
  const symbols = symbolsEnd(text, start, true);
  if (symbols > start) return symbols;
  const spaces = runEnd(text, start, space);
  return linesEnd(text, start, spaces) || beforeWord(text, start, spaces);
}

/** Where a word's letters may start: the word includes one character before them, unless it is a number or ends a line. */
function wordStart(text: string, start: number, kind: number): number {
  const isPart = (kind & (letter | number)) === 0 && !endsLine(text.charCodeAt(start));
  return isPart ? start + unitsAt(text, start) : start;
}

/**
 * The end of `[Lu Lt Lm Lo M]*[Ll Lm Lo M]+` or else `[Lu Lt Lm Lo M]+[Ll Lm Lo M]*`, or `start`. The first part is greedy; if it leaves
 * nothing for the second, it gives back as little as possible, from the last character on that matches both.
 */
function casedWordEnd(text: string, start: number): number {
  const head = runEnd(text, start, upper | caseless | mark);
  const end = runEnd(text, head, lower | caseless | mark);
  if (end > head) return end;
  for (let index = head; index > start; ) {
    const before = index - (isLowSurrogate(text.charCodeAt(index - 1)) ? 2 : 1);
    if ((classAt(text, before) & (caseless | mark)) !== 0) return index;
    index = before;
  }
  return head;
}

/** The end of the contraction (`'s`, `'RE`, ...) that starts at `start`, or `start`. The long s (U+017F) is a form of s. */
function contractionEnd(text: string, start: number): number {
  if (text.charCodeAt(start) !== apostrophe) return start;
  if (/^[sdmt\u017f]$/i.test(text.slice(start + 1, start + 2))) return start + 2;
  return /^(?:ll|ve|re)$/i.test(text.slice(start + 1, start + 3)) ? start + 3 : start;
}

function numberEnd(text: string, start: number): number {
  let end = start;
  for (let digits = 0; digits < digitsMax && end < text.length && classAt(text, end) === number; digits++) {
    end += unitsAt(text, end);
  }
  return end;
}

/** The end of ` ?[^\s\p{L}\p{N}]+[\r\n]*`, or `start`; with `slashes`, slashes may appear between the line ends. */
function symbolsEnd(text: string, start: number, slashes: boolean): number {
  const from = text.charCodeAt(start) === blank ? start + 1 : start;
  let end = runEnd(text, from, symbol);
  if (end === from) return start;
  while (endsLine(text.charCodeAt(end)) || (slashes && text.charCodeAt(end) === slash)) end++;
  return end;
}

/** `\s*[\r\n]`: the position after the last line end of the white space from `start` to `end`, or 0. */
function linesEnd(text: string, start: number, end: number): number {
  for (let index = end; index > start; index--) if (endsLine(text.charCodeAt(index - 1))) return index;
  return 0;
}

function endsLine(unit: number): boolean {
  return unit === lineFeed || unit === carriageReturn;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
