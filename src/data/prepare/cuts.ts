/**
 * Finds positions where a long text can be cut so that its parts, encoded one by one, give the tokens of the entire text: between a
 * letter or digit and the white space after it, and between a single line feed and the letter or digit that begins the next line. The
 * pre-tokenizers of GPT-2 and its successors always end a piece there, and no merge crosses a piece. It works on UTF-8, so that only a
 * few characters are decoded to find a position.
 */
import { classAt, letter, number } from '../tokenizers/characterClasses.ts';

/** Target size of a part. */
export const partBytes = 512 * 1024;

export interface PartSizes {
  readonly aim: number;
  /** Maximum size of a part. Only a part without a position to cut is longer than the target. */
  readonly max: number;
}

const partSizes: PartSizes = { aim: partBytes, max: 2 * partBytes };

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
/** Maximum number of bytes in a character. */
const characterBytes = 4;

/**
 * The end of the first part of `bytes`, or undefined if more bytes are needed. It depends on the text alone, not on how the text
 * arrives. If the maximum size contains no suitable position, the cut is between any two characters; only there can tokens differ from
 * those of the entire text.
 * @param isLast whether `bytes` is the rest of the text
 */
export function partEnd(bytes: Uint8Array, isLast: boolean, { aim, max }: PartSizes = partSizes): number | undefined {
  // Up to here the following character is known.
  const known = isLast ? bytes.length : bytes.length - characterBytes;
  if (known <= aim) return isLast ? bytes.length : undefined;
  for (let i = aim; i > 0; i--) if (isCut(bytes, i)) return i;
  const end = Math.min(known, max + 1);
  for (let i = aim + 1; i < end; i++) if (isCut(bytes, i)) return i;
  if (known <= max) return isLast ? bytes.length : undefined;
  let i = max;
  // A byte 10xxxxxx continues a character; more than three in a row are not UTF-8, which the part's reader reports.
  while (i > max - 3 && isContinuation(bytes[i]!)) i--;
  // Both characters of a CRLF stay in one part.
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
