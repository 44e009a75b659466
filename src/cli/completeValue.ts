/** Completions that only this program knows: config names, keys and run directories. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { keyPaths } from '../config/keys.ts';
import { shippedConfigs } from '../config/locate.ts';

/** Options and commands whose value is a run directory. */
const takeRuns = new Set([
  ...['--resume', '--run-dir', '--checkpoint', '--init-from'],
  ...['chat', 'serve', 'generate', 'eval', 'finetune', 'merge', 'export', 'plot', 'report', 'dashboard'],
]);

/**
 * @param words the command line, up to the word to complete, which may be empty
 * @param current that word
 * @returns its completions; undefined if yargs knows them
 */
export function completeValue(words: readonly string[], current: string, cwd: string): string[] | undefined {
  const [, option = '', typed = current] = /^(--[^=]+)=(.*)$/s.exec(current) ?? [];
  const before = option || words.at(-2) || '';
  const offer = (values: readonly string[]) => {
    const fitting = values.filter((value) => value.startsWith(typed));
    return option === '' ? fitting : fitting.map((value) => `${option}=${value}`);
  };
  if (before === '--config' || before === '-c') return offer(shippedConfigs());
  if (takeRuns.has(before) && !typed.startsWith('-')) return offer(runsIn(cwd));
  const lastOption = words.slice(0, -1).findLast((word) => word.startsWith('-'));
  if (lastOption === '--set' && !current.startsWith('-')) {
    return offer(keyPaths.map((path) => `${path}=`));
  }
  return undefined;
}

/** `runs/NAME`, by name. */
function runsIn(cwd: string): string[] {
  try {
    const entries = readdirSync(join(cwd, 'runs'), { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join('runs', name));
  } catch {
    // No readable runs: a completion must not print an error.
    return [];
  }
}
