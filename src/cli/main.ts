#!/usr/bin/env node
/** The command line: `launch` and its subcommands. Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted. */
import { hideBin } from 'yargs/helpers';
import { exitCodeOf } from '../base/errors.ts';
import { version } from '../base/version.ts';
import { commandLine } from './commandLine.ts';
import { errorText } from './errorText.ts';
import { style } from './style.ts';
import { versionLine } from './versionLine.ts';

// Output cut off by `| head` is not an error. What runs for long and listens to signals ends in order, all else at once.
let isCutOff = false;
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  if (isCutOff) return;
  isCutOff = true;
  if (process.listenerCount('SIGTERM') === 0) process.exit(0);
  process.kill(process.pid, 'SIGTERM');
});

const typed = hideBin(process.argv);
// Which shell the script is for: yargs reads it when its parser is made.
if (typed[0] === 'completion' && (typed[1] === 'bash' || typed[1] === 'zsh')) process.env['SHELL'] = typed[1];
try {
  await commandLine(typed, typed.includes('--version') ? await versionLine() : version).parseAsync();
} catch (error) {
  const text = errorText(error, typed.includes('--debug'));
  process.stderr.write(`${style('red', 'launch:', process.stderr)} ${text}\n`);
  process.exitCode = exitCodeOf(error);
}
