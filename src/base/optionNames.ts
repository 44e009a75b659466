/** Options of programs in JavaScript, whose names no compiler has checked. */
import { UserError } from './errors.ts';
import { nearestWord } from './nearest.ts';
import { isRecord, received } from './optionValues.ts';

/** The name of every option, as in `{ step: true } satisfies OptionNames<SaveCheckpointOptions>`: the compiler reports one that is missing. */
export type OptionNames<Options> = Readonly<Record<keyof Options, true>>;

/**
 * Refuses options that do not exist: ignored, they would silently have their defaults.
 * @param of whose options they are, for messages: `train`
 * @param names every option
 * @throws UserError for a value that is not an object, and for the first unknown option, with the nearest known one
 */
export function checkOptionNames(of: string, given: object, names: Readonly<Record<string, true>>): void {
  if (!isRecord(given)) {
    throw new UserError(`the options of ${of}: expected an object, received ${received(given)}`);
  }
  // Kernels of a small model take microseconds: nothing is allocated for options that are right.
  for (const name in given) if (!Object.hasOwn(names, name)) throw unknownOption(of, name, Object.keys(names));
}

function unknownOption(of: string, name: string, known: readonly string[]): UserError {
  const guess = nearestWord(name, known);
  const hint = guess === undefined ? `Options: ${known.join(', ')}.` : `Did you mean ${guess}?`;
  return new UserError(`unknown option ${name.slice(0, 100)} of ${of}. ${hint}`);
}
