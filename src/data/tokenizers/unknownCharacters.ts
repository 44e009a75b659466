/** Formats characters without a token for messages. */

const shownMax = 10;

/** `"é" (U+00E9), U+0007 and 3 more` */
export function shownCharacters(codePoints: Iterable<number>): string {
  const all = [...codePoints];
  const shown = all.slice(0, shownMax).map((codePoint) => {
    const hex = codePoint.toString(16).toUpperCase().padStart(4, '0');
    // A control character or half a surrogate pair would garble the terminal.
    const printable = !/[\p{C}\p{Z}]/u.test(String.fromCodePoint(codePoint));
    return printable ? `${JSON.stringify(String.fromCodePoint(codePoint))} (U+${hex})` : `U+${hex}`;
  });
  const more = all.length > shown.length ? ` and ${all.length - shown.length} more` : '';
  return `${shown.join(', ')}${more}`;
}
