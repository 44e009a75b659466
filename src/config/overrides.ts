/** Parses `--set group.key=value`. The value is YAML, as in the file, and is checked together with the file's values. */
import { parseDocument } from 'yaml';
import { UserError } from '../base/errors.ts';
import { overrideText, settingText } from '../base/ownCommand.ts';
import { type ConfigKey, configKey, nearestKey } from './keys.ts';
import { todaysPath } from './renamedKeys.ts';
import { guarded, refuseAliases } from './yamlSource.ts';

const shownMax = 200;

export interface Override {
  /** As the user typed it, cut if it is very long. */
  readonly text: string;
  readonly key: ConfigKey;
  readonly value: unknown;
}

/** @throws UserError that names the override if it has no `=` or does not name a key */
export function parseOverride(text: string): Override {
  const equals = text.indexOf('=');
  const shown = text.length > shownMax ? `${text.slice(0, shownMax)}...` : text;
  if (equals < 1) {
    throw new UserError(
      `${overrideText(shown)}: expected group.key=value, as in ${settingText('train.maxSteps', '100')}.`,
    );
  }
  const written = text.slice(equals + 1);
  const path = todaysPath(text.slice(0, equals).trim(), plainValue(written));
  const key = configKey(path);
  if (!key) {
    const guess = nearestKey(path);
    throw new UserError(
      `${overrideText(shown)}: unknown key ${path.slice(0, shownMax)}.${guess === undefined ? '' : ` Did you mean ${guess}?`}`,
    );
  }
  return { text: shown, key, value: parseValue(written, key, overrideText(shown)) };
}

/** The value parsed as YAML, or the text itself if it is not YAML. */
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
 * Parsed as YAML if the result fits the key, otherwise the text itself if the key accepts any text: `data.text=*.md` and
 * `sample.prompt=1: one` work although they are not YAML strings. If the key accepts a list, text that begins with `[` is one.
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
  // A list is written [a, b]. `- a` is a name with a dash, and so is `--- a`: it does not start a document.
  const unmeant = (Array.isArray(value) && !text.trimStart().startsWith('[')) || /^\s*(---|\.\.\.)(\s|$)/.test(text);
  if (valid && value !== null && !unmeant && key.schema.safeParse(value).success) return value;
  return key.schema.safeParse(text).success || !valid ? text : value;
}
