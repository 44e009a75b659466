/**
 * `launch completion`: what a shell offers for a word. yargs knows commands, options and choices, and writes the script for bash and
 * zsh; here are the values that only this program knows: config names and run directories. For the rest the shell offers files.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CommandModule } from 'yargs';
import { keyPaths } from '../config/keys.ts';
import { shippedConfigs } from '../config/locate.ts';
import { trainOptions } from './train.ts';

const shells = ['bash', 'zsh'] as const;

/** yargs' own command, hidden: it prints the same script, and cannot be had without one. */
export const yargsCommand = 'yargs-completion';

/** @param printScript yargs' own, for the shell that SHELL named when its parser was made; it is told how the script was asked for */
export function completionCommand(
  printScript: (askedFor: string) => void,
): CommandModule<object, { shell?: string | undefined }> {
  return {
    command: 'completion [shell]',
    describe: 'Print a script that completes commands, options, configs and runs',
    builder: (yargs) =>
      yargs
        .positional('shell', { choices: shells, describe: 'Which it is for [default: that of $SHELL]' })
        .example('$0 completion bash', 'to keep it: launch completion bash >> ~/.bashrc'),
    handler: ({ shell }) => printScript(shell === undefined ? 'completion' : `completion ${shell}`),
  };
}

/** Options and commands whose value is a run directory. */
const takeRuns = new Set(['--resume', '--run-dir', '--checkpoint']);

/** For yargs' `completion`: it answers itself where we have nothing to add. */
export function complete(
  current: string,
  _argv: unknown,
  byYargs: (then: (error: Error | null, values: string[] | undefined) => void) => void,
  done: (values: string[]) => void,
): void {
  const words = process.argv.slice(process.argv.indexOf('--get-yargs-completions') + 1);
  const values = completeValue(words, current, process.cwd());
  if (values !== undefined) {
    done(values);
    return;
  }
  byYargs((_error, known = []) => {
    // yargs writes `-c` as `--c`; and it does not know that without a command the options are those of `train`.
    const isDefault = current.startsWith('-') && !words.slice(1, -1).some((word) => !word.startsWith('-'));
    const more = isDefault ? Object.keys(trainOptions).map((name) => `--${name}`) : [];
    done([...new Set([...known, ...more])].filter((value) => !/^--.$/.test(value)));
  });
}

/**
 * @param words the command line, up to the word that is completed, which may be empty
 * @param current that word
 * @returns what it may become; undefined where yargs knows it
 */
export function completeValue(words: readonly string[], current: string, cwd: string): string[] | undefined {
  const [, option = '', typed = current] = /^(--[^=]+)=(.*)$/s.exec(current) ?? [];
  const before = option || words.at(-2) || '';
  const offer = (values: readonly string[]) => {
    const fitting = values.filter((value) => value.startsWith(typed));
    return option === '' ? fitting : fitting.map((value) => `${option}=${value}`);
  };
  if (before === '--config' || before === '-c') return offer(shippedConfigs());
  if (takeRuns.has(before)) return offer(runsIn(cwd));
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
    // No runs here, or none to be read: nothing to offer, and a completion is no place for an error.
    return [];
  }
}
