/** Parses `--set group.key=value`. The value is YAML, as it would stand in the file; whether it fits is checked with the file's. */
import { parseDocument } from 'yaml';
import { UserError } from '../base/errors.ts';
import { type ConfigKey, configKey, nearestKey } from './keys.ts';
import { todaysPath } from './renamedKeys.ts';
import { guarded, refuseAliases } from './yamlSource.ts';

const shownMax = 200;

export interface Override {
  /** As the user typed it; a very long one is cut. */
  readonly text: string;
  readonly key: ConfigKey;
  readonly value: unknown;
}

/** Throws a UserError naming the override if it has no `=` or names no key. */
export function parseOverride(text: string): Override {
  const equals = text.indexOf('=');
  const shown = text.length > shownMax ? `${text.slice(0, shownMax)}...` : text;
  if (equals < 1) {
    throw new UserError(`--set ${shown}: expected group.key=value, as in --set train.maxSteps=100.`);
  }
  const written = text.slice(equals + 1);
  const path = todaysPath(text.slice(0, equals).trim(), plainValue(written));
  const key = configKey(path);
  if (!key) {
    const guess = nearestKey(path);
    throw new UserError(
      `--set ${shown}: there is no key ${path.slice(0, shownMax)}.${guess === undefined ? '' : ` Did you mean ${guess}?`}`,
    );
  }
  return { text: shown, key, value: parseValue(written, key, `--set ${shown}`) };
}

/** What YAML makes of it; the text itself where it is not YAML. */
function plainValue(text: string): unknown {
  const document = parseDocument(text, { logLevel: 'error' });
  if (document.errors.length > 0) return text;
  try {
    return document.toJS({ maxAliasCount: 0 });
  } catch {
    return text;
  }
}

function takesList({ schema }: ConfigKey): boolean {
  return [['a'], [1]].some((list) => schema.safeParse(list).success);
}

/**
 * YAML where that fits the key, else the text itself where the key takes any text: `data.text=*.md` and `sample.prompt=1: one` mean
 * what they say although they are not YAML strings. Where the key takes a list, what begins with `[` is one, as in a file.
 */
function parseValue(text: string, key: ConfigKey, where: string): unknown {
  const document = parseDocument(text, { logLevel: 'error', prettyErrors: false });
  if (text.trimStart().startsWith('[') && takesList(key)) {
    const problem = document.errors[0] ?? document.warnings[0];
    if (problem)
      throw new UserError(`${where}: not a list: ${problem.message}. A text that begins with [ needs quotes.`);
    refuseAliases(document, () => where);
    return guarded(where, () => document.toJS({ maxAliasCount: 0 }));
  }
  let value: unknown;
  let valid = document.errors.length === 0 && document.warnings.length === 0;
  try {
    value = valid ? document.toJS({ maxAliasCount: 0 }) : undefined;
  } catch {
    valid = false;
  }
  // A list is written [a, b]; `- a` is a name with a dash, and `--- a` is one too, not the start of a document.
  const unmeant = (Array.isArray(value) && !text.trimStart().startsWith('[')) || /^\s*(---|\.\.\.)(\s|$)/.test(text);
  if (valid && value !== null && !unmeant && key.schema.safeParse(value).success) return value;
  return key.schema.safeParse(text).success || !valid ? text : value;
}
