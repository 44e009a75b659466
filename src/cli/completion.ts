/**
 * `launch completion`: completion in a shell. yargs knows commands, options and choices, and writes the script for bash and zsh;
 * `completeValue.ts` has the values that only this program knows. For the rest the shell offers files.
 */
import type { ArgumentsCamelCase, Argv } from 'yargs';
import type { CommandEntry } from './commandEntry.ts';
import { trainOptions } from './trainOptions.ts';

const shells = ['bash', 'zsh'] as const;

/** The hidden command that yargs requires; it prints the same script. */
export const yargsCommand = 'yargs-completion';

/** @param printScript prints the script of yargs for the shell in SHELL; receives the command that was used to print it */
export function completionEntry(printScript: (askedFor: string) => void): CommandEntry {
  return {
    command: 'completion [shell]',
    describe: 'Print a completion script for bash or zsh',
    load: () => ({
      builder: (yargs: Argv) =>
        yargs
          .positional('shell', { choices: shells, describe: 'Shell to write for [default: from $SHELL]' })
          .example('$0 completion bash', 'to install: $0 completion bash >> ~/.bashrc'),
      handler: ({ shell }: ArgumentsCamelCase<{ shell?: string | undefined }>) =>
        printScript(shell === undefined ? 'completion' : `completion ${shell}`),
    }),
  };
}

/** For yargs' `completion`; yargs answers when this program has nothing to add. */
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
    // yargs writes `-c` as `--c`, and does not know that the options without a command are those of `train`.
    const isDefault = current.startsWith('-') && !words.slice(1, -1).some((word) => !word.startsWith('-'));
    const more = isDefault ? Object.keys(trainOptions).map((name) => `--${name}`) : [];
    done([...new Set([...known, ...more])].filter((value) => !/^--.$/.test(value)));
  });
}
