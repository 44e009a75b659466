#!/usr/bin/env node
/** The command line: `launch` and its subcommands. Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted. */
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { exitCodeOf, messageOf, PeerError, UserError } from '../base/errors.ts';
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
import { doctorCommand } from './doctor.ts';
import { evaluateCommand } from './evaluate.ts';
import { generateCommand } from './generate.ts';
import { inspectCommand } from './inspect.ts';
import { joinCommand } from './join.ts';
import { plotCommand } from './plot.ts';
import { prepareCommand } from './prepare.ts';
import { reportCommand } from './report.ts';
import { trainCommand } from './train.ts';

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
          .demandCommand(1, 'Name what to measure.'),
    )
    .command(doctorCommand)
    .version(version)
    .strict()
    .check((parsed) => checkArguments(parsed, typed))
    .wrap(Math.min(120, process.stdout.columns ?? 100))
    .fail((message, error) => {
      // yargs' own complaints come with a message alone, or as a YError; all others are thrown by a command.
      if (error !== undefined && error.name !== 'YError') throw error;
      throw new UserError(`${message ?? error?.message}\nSee launch --help.`);
    })
    .parseAsync();
} catch (error) {
  const expected = error instanceof UserError || error instanceof PeerError;
  process.stderr.write(`launch: ${expected ? messageOf(error) : stackOf(error)}\n`);
  process.exitCode = exitCodeOf(error);
}

/** Ours is a bug: whoever reports it needs the stack. */
function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
