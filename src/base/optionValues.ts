/** Values from programs in JavaScript and from files, whose types no compiler has checked. */
import { UserError } from './errors.ts';

/** A value as messages show it after "received": strings in quotes, objects by their kind. */
export function received(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}...` : value);
  if (typeof value === 'bigint') return `${String(value).slice(0, 100)}n`;
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null)
    return isRecord(value) ? 'an object' : `an object (${tagOf(value).slice('[object '.length, -1)})`;
  return typeof value === 'function' || typeof value === 'symbol' ? `a ${typeof value}` : String(value);
}

/** Whether the keys of a value are its own properties: not so for `null`, an array, a Map, a Promise or a URL. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const tag = tagOf(value);
  return tag === '[object Object]' || tag === '[object Module]';
}

function tagOf(value: object): string {
  return Object.prototype.toString.call(value);
}

/** @param name for messages: `runDir` @throws UserError unless `value` is a string that is not empty, which would mean the working folder */
export function checkPath(name: string, value: unknown): void {
  if (typeof value === 'string' && value !== '') return;
  throw new UserError(`${name}: expected a path as a string that is not empty, received ${received(value)}`);
}

const tests = {
  'a string': (value: unknown) => typeof value === 'string',
  'true or false': (value: unknown) => typeof value === 'boolean',
  'a function': (value: unknown) => typeof value === 'function',
  'an AbortSignal': (value: unknown) => value instanceof AbortSignal,
  'an array of strings': (value: unknown) =>
    Array.isArray(value) && value.every((element) => typeof element === 'string'),
} as const;

type OptionType = keyof typeof tests | 'a path';

/**
 * Checks the options that are given.
 * @param expected what each option is, by its name
 * @throws UserError for the first one of another type
 */
export function checkOptionTypes<Options extends object>(
  options: Options,
  expected: Readonly<Partial<Record<keyof Options, OptionType>>>,
): void {
  for (const [name, type] of Object.entries(expected) as [keyof Options & string, OptionType][]) {
    const value: unknown = options[name];
    if (value === undefined) continue;
    if (type === 'a path') checkPath(name, value);
    else if (!tests[type](value)) throw new UserError(`${name}: expected ${type}, received ${received(value)}`);
  }
}
