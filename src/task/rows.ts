/** Rows of example data, and how their fields are read. Every message starts with the row's place, for example `rows.jsonl:12`. */
import { UserError } from '../base/errors.ts';
import { nearestWord } from '../base/nearest.ts';

/** A row of the data: its fields by name, as its file has them. */
export type Row = Readonly<Record<string, unknown>>;

/** A row and its place in messages. */
export interface PlacedRow {
  readonly row: Row;
  /** The place, for example `rows.jsonl:12`. */
  readonly at: string;
}

/** A key that many data sets have and that says nothing to a model. */
const ignoredKeys = ['id'];
const shownLength = 60;

/** A value in a message, shortened. */
export function shownValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? typeof value;
  return text.length <= shownLength ? text : `${text.slice(0, shownLength)}…`;
}

/** @throws UserError naming the first key that is not one of `keys`, and the nearest of them */
export function checkKeys(row: Row, keys: readonly string[], at: string): void {
  const unknown = Object.keys(row).find((key) => !keys.includes(key) && !ignoredKeys.includes(key));
  if (unknown === undefined) return;
  const guess = nearestWord(unknown, keys);
  const advice = guess === undefined ? 'Remove or rename it.' : `Did you mean ${guess}?`;
  throw new UserError(`${at}: unknown key ${shownValue(unknown)}: expected ${keys.join(', ')}. ${advice}`);
}

/**
 * A field with text: at least one character that is not white space.
 * @throws UserError if it is missing, not a text, or empty
 */
export function textField(row: Row, key: string, at: string): string {
  const value = row[key];
  if (typeof value !== 'string') {
    const found = Object.hasOwn(row, key) ? `received ${shownValue(value)}` : `but the row has only ${namesOf(row)}`;
    throw new UserError(`${at}: expected a text in ${key}, ${found}.`);
  }
  if (value.trim() === '') throw new UserError(`${at}: expected a text in ${key}, but it is empty.`);
  return value;
}

/** A field that may be missing, null or empty: all three are ''. */
export function optionalText(row: Row, key: string, at: string): string {
  const value = row[key] ?? '';
  if (typeof value === 'string') return value.trim() === '' ? '' : value;
  throw new UserError(`${at}: expected a text in ${key}, received ${shownValue(value)}.`);
}

/** The value as an object with fields. @throws UserError for anything else; `what` names it */
export function asRow(value: unknown, what: string, at: string): Row {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Row;
  throw new UserError(`${at}: expected ${what}, received ${shownValue(value)}.`);
}

/** The row's keys, for messages. */
export function namesOf(row: Row): string {
  const names = Object.keys(row).map((name) => JSON.stringify(name));
  const shown = names.slice(0, 8).join(', ');
  return names.length === 0 ? 'no keys' : names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}
