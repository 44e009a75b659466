/**
 * `launch completion`: what a shell offers for a word. yargs knows commands, options and choices, and writes the script for bash and
 * zsh; `completeValue.ts` has the values that only this program knows. For the rest the shell offers files.
 */
import type { ArgumentsCamelCase, Argv } from 'yargs';
import type { CommandEntry } from './commandEntry.ts';
import { trainOptions } from './trainOptions.ts';

const shells = ['bash', 'zsh'] as const;

/** yargs' own command, hidden: it prints the same script, and cannot be had without one. */
export const yargsCommand = 'yargs-completion';

/** @param printScript yargs' own, for the shell that SHELL named when its parser was made; it is told how the script was asked for */
export function completionEntry(printScript: (askedFor: string) => void): CommandEntry {
  return {
    command: 'completion [shell]',
    describe: 'Print a script that completes commands, options, configs and runs',
    load: () => ({
      builder: (yargs: Argv) =>
        yargs
          .positional('shell', { choices: shells, describe: 'Which it is for [default: that of $SHELL]' })
          .example('$0 completion bash', 'to keep it: $0 completion bash >> ~/.bashrc'),
      handler: ({ shell }: ArgumentsCamelCase<{ shell?: string | undefined }>) =>
        printScript(shell === undefined ? 'completion' : `completion ${shell}`),
    }),
  };
}

/** For yargs' `completion`: it answers itself where we have nothing to add. */
export async function complete(
  current: string,
  _argv: unknown,
  byYargs: (then: (error: Error | null, values: string[] | undefined) => void) => void,
  done: (values: string[]) => void,
): Promise<void> {
  const { completeValue } = await import('./completeValue.ts');
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
