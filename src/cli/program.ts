/** `launch` and its subcommands. Exit codes: 0 success, 1 failure, 2 invalid input, 85 not finished, 130 interrupted. */
import { exitCodeOf } from '../base/errors.ts';
import { outliveTerminals } from '../base/lostTerminals.ts';
import { setProgram } from '../base/ownCommand.ts';
import { version } from '../base/version.ts';
import { calledAs, programName } from './calledAs.ts';
import { outputCutOff, tameSignals } from './endRequests.ts';
import { errorText } from './output.ts';
import { survivePrintFailures } from './outputFailures.ts';
import { style } from './terminal.ts';
import { versionLine } from './versionLine.ts';

/**
 * Runs the command that was typed, and sets the exit code.
 * @param typed the words after `launch`
 */
export async function runProgram(typed: readonly string[]): Promise<void> {
  tameSignals();
  outliveTerminals();
  setProgram(calledAs());
  // A closed pipe, as with `| head`, is not an error. Commands that listen to signals end gracefully, others at once.
  survivePrintFailures(outputCutOff);
  // yargs reads the shell from here when it makes its parser.
  if (typed[0] === 'completion' && (typed[1] === 'bash' || typed[1] === 'zsh')) process.env['SHELL'] = typed[1];
  try {
    const shown = typed.includes('--version') ? await versionLine() : version;
    if (typed.length === 1 && typed[0] === '--version') process.stdout.write(`${shown}\n`);
    else await (await import('./commandLine.ts')).runCommandLine(typed, shown);
  } catch (error) {
    const text = errorText(error, typed.includes('--debug'));
    process.stderr.write(`${style('red', `${programName()}:`, process.stderr)} ${text}\n`);
    process.exitCode = exitCodeOf(error);
  }
}
