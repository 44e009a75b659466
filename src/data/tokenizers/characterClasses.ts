/**
 * Unicode's general categories as far as the patterns that split text for byte-pair encoding tell them apart, one bit each, so that a
 * set of classes is a mask. `space` is Unicode's White_Space, which `\s` of those patterns means; JavaScript's `\s` has U+FEFF
 * besides and lacks U+0085.
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
/** What is nothing of the above. */
export const other = 64;
/** `[^\s\p{L}\p{N}]` */
export const symbol = mark | other;

/** Class by code point, filled as characters are met; 0 is not met yet. */
const classes = new Uint8Array(0x11_0000);

function classify(codePoint: number): number {
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

/** How many UTF-16 units the character has that starts at `index`. */
export function unitsAt(text: string, index: number): number {
  return (text.codePointAt(index) as number) > 0xffff ? 2 : 1;
}

/** The end of the run of characters of the classes in `mask` that starts at `start`; `start` itself if none does. */
export function runEnd(text: string, start: number, mask: number): number {
  let index = start;
  while (index < text.length && (classAt(text, index) & mask) !== 0) index += unitsAt(text, index);
  return index;
}
