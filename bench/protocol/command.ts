/** `npm run bench -- protocol`: times what the processes of a run on this machine spend on agreeing on a step. */
import { availableParallelism } from 'node:os';
import type { CommandModule } from 'yargs';
import { countsOption, numberOption } from '../../src/cli/options.ts';
import { warn } from '../../src/cli/output.ts';
import { statusLine } from '../../src/cli/terminal.ts';
import {
  type ProtocolBenchListener,
  renderProtocolBound,
  renderProtocolHead,
  renderProtocolRow,
  runProtocolBench,
} from './protocolBench.ts';

interface BenchProtocolArguments {
  readonly workers: string;
  readonly steps: number;
  readonly json: boolean;
}

export const benchProtocolCommand: CommandModule<unknown, BenchProtocolArguments> = {
  command: 'protocol',
  describe: 'Time the commit round trip and heartbeats between the processes of a run on this machine',
  builder: (yargs) =>
    yargs
      .option('workers', { type: 'string', default: '1,2,4', describe: 'Numbers of workers, with commas between' })
      .option('steps', { type: 'number', default: 1000, describe: 'Steps timed, after 300 that are not' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- protocol', 'encrypted and not, with 1, 2 and 4 workers: about a minute')
      .example('npm run bench -- protocol --workers 8 --steps 5000 --json', 'for a program to read'),
  handler: async ({ workers, steps, json }) => {
    numberOption('steps', steps, { min: 1, max: 1e6, whole: true });
    const options = { workers: countsOption('workers', workers, { min: 1, max: 64 }), steps, onWarning: warn };
    const progress = statusLine('timing the protocol');
    const report = await runProtocolBench(options, json ? { progress } : { ...printer(steps), progress });
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderProtocolBound(report));
  },
};

function printer(steps: number): ProtocolBenchListener {
  const cores = availableParallelism();
  return {
    started: (engine) => void process.stdout.write(renderProtocolHead({ engine, steps, cores })),
    measured: (result) => void process.stdout.write(renderProtocolRow(result)),
  };
}
