/** The text from which a vocabulary is made. */

/** A text, or its parts: files, documents, or slices of them. Each part is a text of its own: nothing crosses its end. */
export type TextSource = string | Iterable<string> | AsyncIterable<string>;

/** The parts of a source. */
export function partsOf(source: TextSource): Iterable<string> | AsyncIterable<string> {
  return typeof source === 'string' ? [source] : source;
}
