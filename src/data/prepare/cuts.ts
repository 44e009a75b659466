/**
 * Where a long text may be cut so that its parts, encoded one by one, give the tokens of the whole: between a letter or digit and the
 * space or line break after it. The splitters of GPT-2 and its successors end a piece there whatever stands around it, and no merge
 * crosses a piece. It works on UTF-8, so that nothing is decoded to find a place.
 */

/** The aim for a part. */
export const partBytes = 512 * 1024;

export interface PartSizes {
  readonly aim: number;
  /** The most that a part may have: only one without a place to cut is longer than the aim. */
  readonly max: number;
}

const partSizes: PartSizes = { aim: partBytes, max: 4 * 2 ** 20 };

const lineFeed = 0x0a;
const blank = 0x20;

/**
 * The end of the first part of `bytes`, or undefined if more bytes are needed to tell. A function of the text alone: how it arrives
 * does not matter. In a text that offers no place within the most bytes, between two characters: there alone, tokens may differ from
 * those of the whole.
 * @param isLast whether `bytes` is all that is left of the text
 */
export function partEnd(bytes: Uint8Array, isLast: boolean, { aim, max }: PartSizes = partSizes): number | undefined {
  if (bytes.length <= aim) return isLast ? bytes.length : undefined;
  for (let i = aim; i > 0; i--) if (isCut(bytes, i)) return i;
  const end = Math.min(bytes.length, max + 1);
  for (let i = aim + 1; i < end; i++) if (isCut(bytes, i)) return i;
  if (bytes.length <= max) return isLast ? bytes.length : undefined;
  let i = max;
  // A byte 10xxxxxx goes on with a character; more than three of them are not UTF-8, which the reader of the part finds.
  while (i > max - 3 && isContinuation(bytes[i]!)) i--;
  return i;
}

function isCut(bytes: Uint8Array, i: number): boolean {
  const byte = bytes[i]!;
  return (byte === blank || byte === lineFeed) && isWordEnd(bytes, i);
}

/** Whether the character before `end` is a letter or a digit, in any script. */
function isWordEnd(bytes: Uint8Array, end: number): boolean {
  const last = bytes[end - 1]!;
  if (last < 0x80) {
    const lower = last | 0x20;
    return (lower >= 0x61 && lower <= 0x7a) || (last >= 0x30 && last <= 0x39);
  }
  let start = end - 1;
  while (start > 0 && end - start < 4 && isContinuation(bytes[start]!)) start--;
  return /^[\p{L}\p{N}]$/u.test(Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString());
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}
