#!/usr/bin/env node
/** The command line: `launch` and its subcommands. Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted. */
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { exitCodeOf, UserError } from '../base/errors.ts';
import { version } from '../base/version.ts';
import { standardInput } from '../data/prepare/sources.ts';
import { benchEngineCommand } from './benchEngine.ts';
import { benchGenerateCommand } from './benchGenerate.ts';
import { benchPeersCommand } from './benchPeers.ts';
import { benchProtocolCommand } from './benchProtocol.ts';
import { benchRingCommand } from './benchRing.ts';
import { benchScalingCommand } from './benchScaling.ts';
import { benchStepCommand } from './benchStep.ts';
import { benchTokenizerCommand } from './benchTokenizer.ts';
import { checkArguments } from './checkArguments.ts';
import { complete } from './completion.ts';
import { dashboardCommand } from './dashboard.ts';
import { withGuess } from './didYouMean.ts';
import { doctorCommand } from './doctor.ts';
import { errorText } from './errorText.ts';
import { evaluateCommand } from './evaluate.ts';
import { generateCommand } from './generate.ts';
import { inspectCommand } from './inspect.ts';
import { joinCommand } from './join.ts';
import { plotCommand } from './plot.ts';
import { prepareCommand } from './prepare.ts';
import { reportCommand } from './report.ts';
import { style } from './style.ts';
import { trainCommand } from './train.ts';
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
// yargs loses a lone dash among several sources.
const given = typed[0] === 'prepare' ? typed.map((word) => (word === '-' ? standardInput : word)) : typed;
// Which shell the script is for: yargs reads it here.
if (typed[0] === 'completion' && (typed[1] === 'bash' || typed[1] === 'zsh')) process.env['SHELL'] = typed[1];
const commands = ['train', 'join', 'prepare', 'inspect', 'generate', 'eval', 'bench', 'doctor', 'completion'];
const benches = ['step', 'generate', 'engine', 'ring', 'tokenizer', 'protocol', 'peers'];
try {
  await yargs(given)
    .scriptName('launch')
    .command(trainCommand)
    .command(joinCommand)
    .command(prepareCommand)
    .command(inspectCommand)
    .command(generateCommand)
    .command(evaluateCommand)
    .command(plotCommand)
    .command(reportCommand)
    .command(
      'bench',
      'Measure kernels, training steps, generation, the ring, tokenizers, the protocol and scaling',
      (bench) =>
        bench
          .command(benchStepCommand)
          .command(benchGenerateCommand)
          .command(benchEngineCommand)
          .command(benchRingCommand)
          .command(benchTokenizerCommand)
          .command(benchProtocolCommand)
          .command(benchScalingCommand)
          .command(benchPeersCommand)
          .demandCommand(1, 'Name what to measure.')
          .example('$0 bench step --steps 5', 'each of them has examples of its own: $0 bench ring --help'),
    )
    .command(dashboardCommand)
    .command(doctorCommand)
    .completion('completion', 'Print a script that completes commands: completion bash, or zsh', complete)
    .option('debug', {
      type: 'boolean',
      global: true,
      describe: 'Show of every error where it came from, and its causes',
    })
    .version(typed.includes('--version') ? await versionLine() : version)
    .epilogue('Exit codes: 0 done, 1 the run or the command failed, 2 wrong input, 130 interrupted (Ctrl-C).')
    .strict()
    .check((parsed) => checkArguments(parsed, typed))
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message, error, usage) => {
      // yargs' own complaints come with a message alone, or as a YError; all others are thrown by a command.
      if (error !== undefined && error.name !== 'YError') throw error;
      const known = { commands: typed[0] === 'bench' ? benches : commands, options: optionsOf(usage) };
      throw new UserError(`${withGuess(message ?? error?.message ?? '', typed, known)}\nSee launch --help.`);
    })
    .parseAsync();
} catch (error) {
  const text = errorText(error, typed.includes('--debug'));
  process.stderr.write(`${style('red', 'launch:', process.stderr)} ${text}\n`);
  process.exitCode = exitCodeOf(error);
}

/** Names of the options of the command that was given: what `fail` gets is yargs' usage, for which there is no type. */
function optionsOf(usage: object): string[] {
  const { getDescriptions } = usage as { getDescriptions?: () => Readonly<Record<string, unknown>> };
  return Object.keys(getDescriptions?.() ?? {});
}
