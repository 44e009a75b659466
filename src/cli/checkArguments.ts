/**
 * What yargs accepts and a user cannot have meant, for every command: an option given twice (yargs makes a list of it), a
 * number that is none (yargs makes NaN of it), an empty text. The messages show what was typed.
 */
import { UserError } from '../base/errors.ts';

/** What may be given more than once. `_` and `$0` are yargs' own. */
const repeatable = new Set(['set', 'sources', 'rundirs', 'runs', 'stop', '_', '$0']);

/** What means something of its own when it stands alone. */
const bare = new Set(['resume', 'dashboard', 'smooth', 'tensorboard']);

/**
 * For yargs' `check`, before any command runs.
 * @param parsed what yargs made of the command line
 * @param given the command line as it was typed
 * @throws UserError for the first value that cannot be meant
 */
export function checkArguments(parsed: Readonly<Record<string, unknown>>, given: readonly string[]): true {
  for (const [key, value] of Object.entries(parsed)) {
    if (repeatable.has(key)) continue;
    const texts = textsOf(key, given);
    const name = texts[0]?.name ?? `--${key}`;
    if (Array.isArray(value)) {
      throw new UserError(`${name} was given ${value.length} times: expected it once`);
    }
    if (Number.isNaN(value)) {
      // An alias of the option that was typed: its own turn comes.
      if (texts.length === 0) continue;
      throw new UserError(`${name}: expected a number, received ${JSON.stringify(texts[0]?.text ?? '')}`);
    }
    if (value === '' && !bare.has(key)) {
      throw new UserError(`${name}: expected a text that is not empty`);
    }
  }
  return true;
}

/** Where the option `key` stands on the command line, by this very name. */
function textsOf(key: string, given: readonly string[]): { name: string; text: string | undefined }[] {
  return given.flatMap((argument, i) => {
    const [, name, typed, attached] = /^(--?([^-=][^=]*))(?:=(.*))?$/s.exec(argument) ?? [];
    return name !== undefined && typed === key ? [{ name, text: attached ?? given[i + 1] }] : [];
  });
}
