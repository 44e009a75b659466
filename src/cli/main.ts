#!/usr/bin/env node
/** The command line: `launch` and its subcommands. Exit codes: 0 success, 1 failure, 2 invalid input, 130 interrupted. */
import { commitOfCode } from '../base/commit.ts';
import { exitCodeOf } from '../base/errors.ts';
import { instructionSets, isInstructionSet } from '../base/instructionSets.ts';
import { outliveTerminals } from '../base/lostTerminals.ts';
import { ownCommand, setProgram } from '../base/ownCommand.ts';
import { version } from '../base/version.ts';
import { findEngine, unitsOf } from '../engine/registry.ts';
import { calledAs, programName } from './calledAs.ts';
import { outputCutOff, tameSignals } from './endRequests.ts';
import { errorText } from './output.ts';
import { survivePrintFailures } from './outputFailures.ts';
import { style } from './terminal.ts';

tameSignals();
outliveTerminals();
setProgram(calledAs());
// A closed pipe, as with `| head`, is not an error. Commands that listen to signals end gracefully, others at once.
survivePrintFailures(outputCutOff);

const typed = process.argv.slice(2);
// yargs reads the shell from here when it makes its parser.
if (typed[0] === 'completion' && (typed[1] === 'bash' || typed[1] === 'zsh')) process.env['SHELL'] = typed[1];
try {
  if (typed.length === 1 && typed[0] === '--version') process.stdout.write(`${versionLine()}\n`);
  else await run();
} catch (error) {
  const text = errorText(error, typed.includes('--debug'));
  process.stderr.write(`${style('red', `${programName()}:`, process.stderr)} ${text}\n`);
  process.exitCode = exitCodeOf(error);
}

async function run(): Promise<void> {
  const { runCommandLine } = await import('./commandLine.ts');
  await runCommandLine(typed, typed.includes('--version') ? versionLine() : version);
}

/** `lockstep 0.1.0 (abc1234), engine native AVX-512`: the version, the commit if known, and the default engine. */
function versionLine(): string {
  const commit = commitOfCode();
  return `lockstep ${version}${commit === undefined ? '' : ` (${commit})`}, engine ${engineName()}`;
}

function engineName(): string {
  const found = findEngine({ name: 'auto' });
  if ('missing' in found) return `none: \`${ownCommand('doctor')}\` says how to get one`;
  const { name, deviceKind } = found;
  const [unit = deviceKind] = unitsOf(name);
  return `${name} ${isInstructionSet(unit) ? instructionSets[unit].label : unit}`;
}
