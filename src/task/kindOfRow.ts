/** What can be learned from rows, recognised by the keys of the first one. */
import { UserError } from '../base/errors.ts';
import { namesOf, type PlacedRow, type Row } from './rows.ts';

/** The kinds of rows, by their keys: the first kind with all keys of one of its sets is the row's. */
const kinds = [
  ['dpo', [['chosen', 'rejected']]],
  ['classify', [['text', 'label']]],
  ['seq2seq', [['source', 'target']]],
  ['sft', [['instruction', 'output'], ['messages'], ['conversations'], ['prompt', 'completion']]],
  ['lm', [['text']]],
] as const;

/** A kind of task that rows show: `reward` has the same rows as `dpo`. */
export type RecognisedKind = (typeof kinds)[number][0];

/** The task for rows like this; undefined for a row of no known form. */
export function recognisedKind(row: Row): RecognisedKind | undefined {
  return kinds.find(([, sets]) => sets.some((keys) => keys.every((key) => Object.hasOwn(row, key))))?.[0];
}

/**
 * The task for rows like this.
 * @param columns a setting with the names of columns, such as `--columns a,b`, for messages
 * @throws UserError for a row of no known form
 */
export function kindOfRow({ row, at }: PlacedRow, columns: (...names: string[]) => string): RecognisedKind {
  const found = recognisedKind(row);
  if (found !== undefined) return found;
  const expected = kinds.flatMap(([, sets]) => sets.map((keys) => `{${keys.join(', ')}}`)).join(', ');
  throw new UserError(
    `${at}: expected a row with one of ${expected}, received one with ${namesOf(row)}. ` +
      `If the row has them under other names, take these: ${columns('text=NAME', 'label=OTHER')}. If it is a table without a header row, name its columns: ${columns('label', 'text')}.`,
  );
}
