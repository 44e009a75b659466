/** The text that a vocabulary is made from. */

/** A text, or its parts: files, documents, or slices of them. A part is a text by itself: nothing goes on across its end. */
export type TextSource = string | Iterable<string> | AsyncIterable<string>;

/** The parts of a source. */
export function partsOf(source: TextSource): Iterable<string> | AsyncIterable<string> {
  return typeof source === 'string' ? [source] : source;
}
