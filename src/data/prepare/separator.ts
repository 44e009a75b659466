/** The separator of the cells of a CSV table, which files do not name. */

/** The separators that tables in CSV have. */
export const separators = [',', ';', '\t', '|'] as const;

/** Number of bytes or characters at the start of a table that are examined. */
export const separatorSample = 2 ** 16;

/** The most frequent separator in the first row that is not blank, outside quotes. */
export function frequentSeparator(head: string): string {
  const row = head
    .replaceAll(/"[^"]*"/g, '')
    .replace(/^[\r\n]+/, '')
    .split('\n', 1)[0]!;
  const count = (separator: string): number => row.split(separator).length;
  return separators.reduce<string>((best, other) => (count(other) > count(best) ? other : best), separators[0]);
}
