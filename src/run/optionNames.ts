/** Options of programs in JavaScript, of which no compiler has looked at the names. */
import { UserError } from '../base/errors.ts';
import { nearest } from '../config/keys.ts';

/**
 * Refuses options that do not exist: left out, they would silently have their defaults.
 * @param what whose options they are, for messages: `train`
 * @param names every option
 * @throws UserError for the first that is none, with the nearest that is
 */
export function checkOptionNames(what: string, given: object, names: Readonly<Record<string, true>>): void {
  const known = Object.keys(names);
  const unknown = Object.keys(given).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const guess = nearest(unknown, known, (name) => name);
  throw new UserError(
    `${what}: there is no option ${unknown.slice(0, 100)}. ${guess === undefined ? `Options: ${known.join(', ')}.` : `Did you mean ${guess}?`}`,
  );
}
