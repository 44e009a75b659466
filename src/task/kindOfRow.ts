/** What can be learned from rows, recognised by the keys of the first one. */
import { UserError } from '../base/errors.ts';
import { namesOf, type PlacedRow } from './rows.ts';

/** The kinds of rows, by their keys: the first kind with all keys of one of its sets is the row's. */
const kinds = [
  ['dpo', [['chosen', 'rejected']]],
  ['classify', [['text', 'label']]],
  ['sft', [['instruction', 'output'], ['messages'], ['conversations'], ['prompt', 'completion']]],
  ['lm', [['text']]],
] as const;

/** A kind of task that rows show: `reward` has the same rows as `dpo`. */
export type RecognisedKind = (typeof kinds)[number][0];

/** The task for rows like this. @throws UserError for a row of no known form */
export function kindOfRow({ row, at }: PlacedRow): RecognisedKind {
  const found = kinds.find(([, sets]) => sets.some((keys) => keys.every((key) => Object.hasOwn(row, key))));
  if (found !== undefined) return found[0];
  const expected = kinds.flatMap(([, sets]) => sets.map((keys) => `{${keys.join(', ')}}`)).join(', ');
  throw new UserError(
    `${at}: expected a row with one of ${expected}, received one with ${namesOf(row)}. ` +
      'Rename the keys, or name the columns of a table without a header row: --set data.columns=[label,text]',
  );
}
