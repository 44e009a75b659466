/** A text of any length from a short one: its paragraphs, drawn at random, in parts like those of a large corpus. */
import { randomBits, randomKey } from '../../src/base/counterRandom.ts';

/** A part is about that long, in UTF-16 units. */
const partUnits = 1 << 16;

/** Parts of together at least `bytes` bytes of UTF-8; the same each time. */
export function mixedText(text: string, bytes: number): string[] {
  // Libraries differ in what they make of these in a text.
  const paragraphs = text.replaceAll('<|endoftext|>', '').split(/(?<=\n\n)/);
  const key = randomKey(bytes, paragraphs.length);
  const parts: string[] = [];
  let drawn = 0;
  for (let left = bytes; left > 0; ) {
    let part = '';
    while (part.length < partUnits) part += paragraphs[randomBits(key, drawn++) % paragraphs.length];
    parts.push(part);
    left -= Buffer.byteLength(part);
  }
  return parts;
}

export function byteLength(parts: readonly string[]): number {
  return parts.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
}
