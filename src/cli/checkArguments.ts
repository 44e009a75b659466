/**
 * Checks for every command what yargs accepts but no user means: an option given twice (yargs makes a list of it), an invalid
 * number (yargs makes NaN of it), an empty text, two values for one key (`--set`). The messages show the text as typed.
 */
import { resolve } from 'node:path';
import { UserError } from '../base/errors.ts';
import { refuseConflicts } from '../base/overrideConflicts.ts';
import { shellWord } from '../base/shellWord.ts';
import { expandHome } from '../base/userPath.ts';

/** Options that can be repeated. `_` and `$0` belong to yargs. */
const repeatable = new Set(['set', 'sources', 'rundirs', 'runs', 'stop', '_', '$0']);

/** Options that have a meaning without a value. */
const bare = new Set(['resume', 'dashboard', 'smooth', 'tensorboard']);

/**
 * yargs leaves what follows `--` out of the positional arguments, so a command would run without it.
 * @param typed the words after `launch`
 */
export function refuseTerminator(typed: readonly string[]): void {
  const at = typed.indexOf('--');
  if (at < 0) return;
  const path = typed.slice(at + 1).find((word) => /^-[^-]/.test(word));
  const how = path === undefined ? '' : `. A path that starts with a dash is typed as ${shellWord(`./${path}`)}`;
  throw new UserError(`--: commands take no arguments after it: omit it${how}`);
}

/**
 * For yargs' `check`, before any command runs.
 * @param parsed what yargs made of the command line
 * @param given the command line as it was typed
 * @param booleans the options that `--no-` can negate
 * @throws UserError for the first value that cannot be meant
 */
export function checkArguments(
  parsed: Readonly<Record<string, unknown>>,
  given: readonly string[],
  booleans: readonly string[] = [],
): true {
  const { set } = parsed;
  if (Array.isArray(set)) refuseConflicts(set.map(String));
  for (const [key, value] of Object.entries(parsed)) {
    if (repeatable.has(key)) continue;
    // Yargs makes a false of `--no-` before any name.
    if (given.includes(`--no-${key}`) && !booleans.includes(key)) {
      throw new UserError(`--no-${key}: --${key} takes a value and cannot be negated: omit it`);
    }
    const texts = textsOf(key, given);
    const name = texts[0]?.name ?? `--${key}`;
    // Where both are given, yargs drops the option of this name.
    const typed = key === 'checkpoint' && typeof value === 'string' ? texts[0]?.text : undefined;
    if (typed !== undefined && typed !== '' && pathOf(typed) !== pathOf(String(value))) {
      throw new UserError(`${name} and the argument ${String(value)} name two checkpoints: give one`);
    }
    if (Array.isArray(value)) {
      throw new UserError(`${name} was given ${value.length} times: give it once`);
    }
    if (Number.isNaN(value)) {
      // An alias of the typed option, which is checked under its own name.
      if (texts.length === 0) continue;
      throw new UserError(`${name}: expected a number, received ${JSON.stringify(texts[0]?.text ?? '')}`);
    }
    // Yargs makes 0 of an empty text.
    if (typeof value === 'number' && texts[0]?.text?.trim() === '') {
      throw new UserError(`${name}: expected a number, received ${JSON.stringify(texts[0].text)}`);
    }
    if ((value === '' || typed === '') && !bare.has(key)) {
      throw new UserError(`${name}: expected a non-empty text`);
    }
  }
  return true;
}

/** Equal for the ways to write one path. */
function pathOf(text: string): string {
  return resolve(expandHome(text));
}

/** The places of the option `key` on the command line, by exactly this name. */
function textsOf(key: string, given: readonly string[]): { name: string; text: string | undefined }[] {
  return given.flatMap((argument, i) => {
    const [, name, typed, attached] = /^(--?([^-=][^=]*))(?:=(.*))?$/s.exec(argument) ?? [];
    return name !== undefined && typed === key ? [{ name, text: attached ?? given[i + 1] }] : [];
  });
}
