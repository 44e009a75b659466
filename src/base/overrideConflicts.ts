/** Two overrides of one key: which of the two was meant, nobody can say. Loads no schema, since every command line is checked. */
import { UserError } from './errors.ts';
import { overrideText } from './ownCommand.ts';

/**
 * @param overrides each `group.key=value`; the same twice is fine
 * @param others options that set a key too, as they were given, with what they set: `--workers 4` and `train.workers=4`
 * @throws UserError that names two with one key and different values
 */
export function refuseConflicts(overrides: readonly string[], others: Readonly<Record<string, string>> = {}): void {
  const seen = new Map<string, { value: string; shown: string }>();
  const all = [...overrides.map((text) => [overrideText(text), text] as const), ...Object.entries(others)];
  for (const [given, text] of all) {
    const equals = text.indexOf('=');
    if (equals < 0) continue;
    const [key, value] = [text.slice(0, equals).trim(), text.slice(equals + 1).trim()];
    const shown = given.length > shownMax ? `${given.slice(0, shownMax)}...` : given;
    const before = seen.get(key);
    if (before !== undefined && before.value !== value) {
      throw new UserError(`${before.shown} and ${shown} give ${key.slice(0, shownMax)} two values: leave one out`);
    }
    seen.set(key, { value, shown });
  }
}

const shownMax = 200;
