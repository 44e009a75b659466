/**
 * Unicode's general categories, as far as the splitting patterns of byte-pair encodings distinguish them, one bit each, so that a
 * set of classes is a mask. `space` is Unicode's White_Space, the meaning of `\s` in those patterns; JavaScript's `\s` also includes
 * U+FEFF and lacks U+0085. The Unicode version is 16, regardless of Node's.
 */

/** Lu and Lt. */
export const upper = 1;
/** Ll. */
export const lower = 2;
/** Lm and Lo. */
export const caseless = 4;
export const letter = upper | lower | caseless;
/** M. */
export const mark = 8;
/** N. */
export const number = 16;
export const space = 32;
/** Everything else. */
export const other = 64;
/** `[^\s\p{L}\p{N}]` */
export const symbol = mark | other;

/**
 * The differences between Unicode 17 and 16: first and last code point, and their class in 16. The encoders of the published vocabularies
 * use 16. Node's Unicode version depends on Node, but a text must have the same tokens with every Node. Source: the
 * DerivedGeneralCategory.txt of both versions.
 */
const asInUnicode16: readonly (readonly [first: number, last: number, kind: number])[] = [
  [0x295, 0x295, lower],
  [0x88f, 0x88f, other],
  [0xc5c, 0xc5c, other],
  [0xcdc, 0xcdc, other],
  [0x1acf, 0x1add, other],
  [0x1ae0, 0x1aeb, other],
  [0xa7ce, 0xa7cf, other],
  [0xa7d2, 0xa7d2, other],
  [0xa7d4, 0xa7d4, other],
  [0xa7f1, 0xa7f1, other],
  [0x10940, 0x10959, other],
  [0x10ec5, 0x10ec7, other],
  [0x10efa, 0x10efb, other],
  [0x11b60, 0x11b67, other],
  [0x11db0, 0x11ddb, other],
  [0x11de0, 0x11de9, other],
  [0x16ea0, 0x16eb8, other],
  [0x16ebb, 0x16ed3, other],
  [0x16ff2, 0x16ff6, other],
  [0x187f8, 0x187ff, other],
  [0x18d09, 0x18d1e, other],
  [0x18d80, 0x18df2, other],
  [0x1e6c0, 0x1e6de, other],
  [0x1e6e0, 0x1e6f5, other],
  [0x1e6fe, 0x1e6ff, other],
  [0x2b73a, 0x2b73f, other],
  [0x2cea2, 0x2cead, other],
  [0x323b0, 0x33479, other],
];

/** Class by code point, filled as characters appear; 0 means not yet known. */
const classes = new Uint8Array(0x11_0000);

/** Whether a later version of Unicode changed a character's class from that in 16, which is used here. */
export function isNewerThanUnicode16(codePoint: number): boolean {
  return changeAt(codePoint) !== undefined;
}

function changeAt(codePoint: number) {
  return asInUnicode16.find(([first, last]) => first <= codePoint && codePoint <= last);
}

function classify(codePoint: number): number {
  const change = changeAt(codePoint);
  if (change !== undefined) return change[2];
  const character = String.fromCodePoint(codePoint);
  if (/\p{L}/u.test(character)) {
    if (/[\p{Lu}\p{Lt}]/u.test(character)) return upper;
    return /\p{Ll}/u.test(character) ? lower : caseless;
  }
  if (/\p{N}/u.test(character)) return number;
  if (/\p{M}/u.test(character)) return mark;
  return /\p{White_Space}/u.test(character) ? space : other;
}

/** The class of the character that starts at `index`, which must be below the length. */
export function classAt(text: string, index: number): number {
  const codePoint = text.codePointAt(index) as number;
  const found = classes[codePoint] as number;
  if (found !== 0) return found;
  const classified = classify(codePoint);
  classes[codePoint] = classified;
  return classified;
}

/** Number of UTF-16 units in the character that starts at `index`. */
export function unitsAt(text: string, index: number): number {
  return (text.codePointAt(index) as number) > 0xffff ? 2 : 1;
}

/** The end of the run, starting at `start`, of characters with classes in `mask`; `start` itself if there is no run. */
export function runEnd(text: string, start: number, mask: number): number {
  let index = start;
  while (index < text.length && (classAt(text, index) & mask) !== 0) index += unitsAt(text, index);
  return index;
}
