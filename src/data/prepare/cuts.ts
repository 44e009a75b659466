/**
 * Where a long text may be cut so that its parts, encoded one by one, give the tokens of the whole: between a letter or digit and the
 * white space after it, and between the only line feed after a line and the letter or digit that begins the next. The splitters of
 * GPT-2 and its successors end a piece there whatever stands around it, and no merge crosses a piece. It works on UTF-8, so that
 * nothing but a few characters is decoded to find a place.
 */
import { classAt, letter, number } from '../tokenizers/characterClasses.ts';

/** The aim for a part. */
export const partBytes = 512 * 1024;

export interface PartSizes {
  readonly aim: number;
  /** The most that a part may have: only one without a place to cut is longer than the aim. */
  readonly max: number;
}

const partSizes: PartSizes = { aim: partBytes, max: 2 * partBytes };

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
/** The most that a character has. */
const characterBytes = 4;

/**
 * The end of the first part of `bytes`, or undefined if more bytes are needed to tell. A function of the text alone: how it arrives
 * does not matter. In a text that offers no place within the most bytes, between two characters: there alone, tokens may differ from
 * those of the whole.
 * @param isLast whether `bytes` is all that is left of the text
 */
export function partEnd(bytes: Uint8Array, isLast: boolean, { aim, max }: PartSizes = partSizes): number | undefined {
  // Up to here it is known what character follows.
  const known = isLast ? bytes.length : bytes.length - characterBytes;
  if (known <= aim) return isLast ? bytes.length : undefined;
  for (let i = aim; i > 0; i--) if (isCut(bytes, i)) return i;
  const end = Math.min(known, max + 1);
  for (let i = aim + 1; i < end; i++) if (isCut(bytes, i)) return i;
  if (known <= max) return isLast ? bytes.length : undefined;
  let i = max;
  // A byte 10xxxxxx goes on with a character; more than three of them are not UTF-8, which the reader of the part finds.
  while (i > max - 3 && isContinuation(bytes[i]!)) i--;
  // A line end of two characters stays in one part.
  if (bytes[i] === lineFeed && bytes[i - 1] === carriageReturn) i--;
  return i;
}

function isCut(bytes: Uint8Array, i: number): boolean {
  const next = bytes[i]!;
  if (next === 0x20 || (next >= 0x09 && next <= 0x0d)) return isWord(characterBefore(bytes, i));
  if (bytes[i - 1] !== lineFeed || i < 2) return false;
  return !/^\p{White_Space}$/u.test(characterBefore(bytes, i - 1)) && isWord(characterAt(bytes, i));
}

/** A letter or a digit, in any script. */
function isWord(character: string): boolean {
  return character !== '' && (classAt(character, 0) & (letter | number)) !== 0;
}

function characterBefore(bytes: Uint8Array, end: number): string {
  let start = end - 1;
  while (start > 0 && end - start < characterBytes && isContinuation(bytes[start]!)) start--;
  return decode(bytes, start, end);
}

function characterAt(bytes: Uint8Array, start: number): string {
  let end = start + 1;
  while (end < bytes.length && end - start < characterBytes && isContinuation(bytes[end]!)) end++;
  return decode(bytes, start, end);
}

function decode(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString();
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}
