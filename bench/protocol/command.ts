/** `npm run bench -- protocol`: times what the processes of a run on this machine spend on agreeing on a step. */
import { availableParallelism } from 'node:os';
import type { CommandModule } from 'yargs';
import { countsOption, numberOption } from '../../src/cli/options.ts';
import { warn } from '../../src/cli/output.ts';
import { statusLine } from '../../src/cli/terminal.ts';
import { type PretendBenchOptions, type PretendListener, runPretendBench } from './pretend/pretendBench.ts';
import { renderPretendHead, renderPretendRow, renderResume } from './pretend/pretendReport.ts';
import {
  type ProtocolBenchListener,
  renderProtocolBound,
  renderProtocolHead,
  renderProtocolRow,
  runProtocolBench,
} from './protocolBench.ts';

interface BenchProtocolArguments {
  readonly workers: string;
  readonly steps: number | undefined;
  readonly pretend: string | undefined;
  readonly tokens: number;
  readonly 'host-workers': number;
  readonly 'state-mb': number;
  readonly json: boolean;
}

export const benchProtocolCommand: CommandModule<unknown, BenchProtocolArguments> = {
  command: 'protocol',
  describe: 'Time the commit round trip and heartbeats between the processes of a run on this machine',
  builder: (yargs) =>
    yargs
      .option('workers', { type: 'string', default: '1,2,4', describe: 'Numbers of workers, with commas between' })
      .option('steps', { type: 'number', describe: 'Steps timed. Default: 1000, or 30 of pretended workers' })
      .option('pretend', {
        type: 'string',
        requiresArg: true,
        describe: 'Instead: numbers of workers that compute nothing, and what they cost the coordinator',
      })
      .option('tokens', { type: 'number', default: 1024, describe: 'Tokens of a pretended worker in a step' })
      .option('host-workers', {
        type: 'number',
        default: 8,
        describe: 'Pretended workers that share the agent of a host; 0: each has its own connection',
      })
      .option('state-mb', { type: 'number', default: 100, describe: 'Size of the state that pretended workers resume' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- protocol', 'encrypted and not, with 1, 2 and 4 workers: about a minute')
      .example('npm run bench -- protocol --pretend 64,256,1024', 'the coordinator of many workers: two minutes')
      .example('npm run bench -- protocol --workers 8 --steps 5000 --json', 'for a program to read'),
  handler: async ({
    workers,
    steps,
    pretend,
    tokens,
    'host-workers': hostWorkers,
    'state-mb': stateMegabytes,
    json,
  }) => {
    if (steps !== undefined) numberOption('steps', steps, { min: 1, max: 1e6, whole: true });
    if (pretend !== undefined) {
      numberOption('host-workers', hostWorkers, { min: 0, max: 1_024, whole: true });
      numberOption('tokens', tokens, { min: 1, max: 65_536, whole: true });
      numberOption('state-mb', stateMegabytes, { min: 0.001, max: 10_000 });
      const counts = countsOption('pretend', pretend, { min: 2, max: 1_024 });
      await pretendBench(
        { workers: counts, steps: steps ?? 30, hostWorkers, tokens, stateMegabytes, onWarning: warn },
        json,
      );
      return;
    }
    const timed = steps ?? 1_000;
    const options = { workers: countsOption('workers', workers, { min: 1, max: 64 }), steps: timed, onWarning: warn };
    const progress = statusLine('timing the protocol');
    const report = await runProtocolBench(options, json ? { progress } : { ...printer(timed), progress });
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderProtocolBound(report));
  },
};

async function pretendBench(options: PretendBenchOptions, json: boolean): Promise<void> {
  const print: PretendListener = {
    started: () => void process.stdout.write(renderPretendHead(options)),
    measured: (result) => void process.stdout.write(renderPretendRow(result)),
  };
  const report = await runPretendBench(options, json ? {} : print);
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderResume(report.resume));
}

function printer(steps: number): ProtocolBenchListener {
  const cores = availableParallelism();
  return {
    started: (engine) => void process.stdout.write(renderProtocolHead({ engine, steps, cores })),
    measured: (result) => void process.stdout.write(renderProtocolRow(result)),
  };
}
