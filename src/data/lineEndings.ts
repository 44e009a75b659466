/** Windows ends lines with CR LF, two characters, and a model would learn to write the CR before every LF. */

/** `lf` converts CRLF to LF; `keep` leaves the text unchanged. */
export type LineEndings = 'lf' | 'keep';
export const lineEndingChoices = ['lf', 'keep'] as const satisfies LineEndings[];

/** The text with the requested line ends, and the number of converted ones. */
export function withLineEndings(text: string, wanted: LineEndings): { text: string; normalised: number } {
  if (wanted === 'keep' || !text.includes('\r\n')) return { text, normalised: 0 };
  const lines = text.split('\r\n');
  return { text: lines.join('\n'), normalised: lines.length - 1 };
}

/** A notice for users; `setting` names the way to keep the line ends. */
export function normalisedNotice(count: string, setting: string): string {
  return `${count} line ends were CRLF and became LF; ${setting} leaves them as they are`;
}
