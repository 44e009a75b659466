/** Rows whose columns or keys have other names than a task expects: `text=v2` takes the column v2 as `text`. Columns that are not named are left out. */
import { UserError } from '../../base/errors.ts';
import { namesOf, type Row } from '../../task/rows.ts';

/** The name of the column for each key. */
export type ChosenColumns = ReadonlyMap<string, string>;

/**
 * What `data.columns` chooses; undefined if its names are those of a table without a header row.
 * @throws UserError if some entries are `KEY=COLUMN` and others are not, and for a key that occurs twice
 */
export function chosenColumns(columns: readonly string[], setting: string): ChosenColumns | undefined {
  if (!columns.some((column) => column.includes('='))) return undefined;
  const chosen = new Map<string, string>();
  for (const column of columns) {
    const [, key = '', name = ''] = /^([^=]*)=(.*)$/s.exec(column) ?? [];
    if (key.trim() === '' || name.trim() === '') {
      throw new UserError(
        `${setting}: expected KEY=COLUMN for each column, such as text=v2, or names alone for a table without a header row, received ${column}`,
      );
    }
    if (chosen.has(key.trim())) throw new UserError(`${setting}: two columns for ${key.trim()}: remove one`);
    chosen.set(key.trim(), name.trim());
  }
  return chosen;
}

/**
 * The row with the chosen keys. A key of a row that lacks the column is taken as it is, so rows that are named already can be read too.
 * @throws UserError for a row that has neither
 */
export function withChosenColumns(
  row: Row,
  chosen: ChosenColumns,
  { at, setting }: { at: string; setting: string },
): Row {
  const named = new Map(Object.entries(row));
  return Object.fromEntries(
    [...chosen].map(([key, column]) => {
      const found = [column, key].find((name) => named.has(name));
      if (found !== undefined) return [key, named.get(found)];
      throw new UserError(`${at}: expected a column ${column} (${setting}), but the row has only ${namesOf(row)}`);
    }),
  );
}
