/** Windows ends lines with CR and LF: two characters, of which a model would learn to write the first before each of the second. */

/** `lf`: CRLF becomes LF; `keep`: the text stays as it is. */
export type LineEndings = 'lf' | 'keep';
export const lineEndingChoices = ['lf', 'keep'] as const satisfies LineEndings[];

/** The text with the line ends that are wanted, and how many became others. */
export function withLineEndings(text: string, wanted: LineEndings): { text: string; normalised: number } {
  if (wanted === 'keep' || !text.includes('\r\n')) return { text, normalised: 0 };
  const lines = text.split('\r\n');
  return { text: lines.join('\n'), normalised: lines.length - 1 };
}

/** For people; `setting` is how they keep the line ends. */
export function normalisedNotice(count: string, setting: string): string {
  return `${count} line ends were CRLF and became LF; ${setting} leaves them as they are`;
}
