/** `npm run bench -- engine`: times an engine's kernels against its device's floating-point limit and other libraries. */
import type { CommandModule } from 'yargs';
import { UserError } from '../../src/base/errors.ts';
import { renderMachine } from '../../src/bench/machine.ts';
import {
  type Column,
  fixed,
  numberColumn,
  percent,
  tableHeading,
  tableRow,
  textColumn,
} from '../../src/bench/table.ts';
import { type IsaOption, isaOption } from '../../src/cli/options.ts';
import { statusLine } from '../../src/cli/terminal.ts';
import { engineNames } from '../../src/engine/engines.ts';
import { type BenchResult, type EngineBenchHead, type EngineBenchListener, runEngineBench } from './engineBench.ts';

interface BenchEngineArguments {
  engine: (typeof engineNames)[number];
  threads: number;
  isa: IsaOption;
  peers: 'auto' | 'none';
  only?: string | undefined;
  json: boolean;
}

export const benchEngineCommand: CommandModule<unknown, BenchEngineArguments> = {
  command: 'engine',
  describe: "Time an engine's kernels against its device's FMA limit and products of other libraries",
  builder: (yargs) =>
    yargs
      .option('engine', { choices: engineNames, default: 'native' as const, describe: 'Compute engine (engine.name)' })
      .option('threads', { type: 'number', default: 0, describe: 'Threads of a kernel; 0: one per core' })
      .option('isa', isaOption)
      .option('peers', {
        choices: ['auto', 'none'] as const,
        default: 'auto' as const,
        describe:
          'auto: compare products with oneDNN and OpenBLAS, or on a GPU TensorFlow.js and jax-js, where they are installed',
      })
      .option('only', {
        type: 'string',
        requiresArg: true,
        describe: 'Only kernels and shapes that match, a regular expression',
      })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- engine', 'all cores, the best instruction set')
      .example("npm run bench -- engine --only 'linear.* 768×'", 'the products of shakespeare-char')
      .example('npm run bench -- engine --threads 1 --isa avx2 --json', 'for a program to read'),
  handler: async ({ engine: name, threads, isa, peers, only, json }) => {
    const engine = { name, threads, unit: isa };
    const options = { engine, peers: peers === 'auto', ...(only !== undefined && { only: patternOf(only) }) };
    const report = await runEngineBench(options, json ? progressOnly() : printer());
    if (json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  },
};

function patternOf(only: string): RegExp {
  try {
    return new RegExp(only, 'i');
  } catch {
    throw new UserError(`--only: expected a regular expression, received ${JSON.stringify(only)}`);
  }
}

function printer(): EngineBenchListener {
  let table: ReturnType<typeof engineTable>;
  return {
    started: (head) => {
      table = engineTable(head);
      process.stdout.write(table.heading);
    },
    measured: (result) => process.stdout.write(table.row(result)),
  };
}

function progressOnly(): EngineBenchListener {
  const status = statusLine('timing kernels');
  let cases = 0;
  let done = 0;
  return {
    started: (head) => {
      cases = head.cases.length;
    },
    measured: () => status(++done / cases),
  };
}

/** For people: a heading, then a row for each kernel as soon as it is timed. */
export function engineTable(head: EngineBenchHead): { heading: string; row(result: BenchResult): string } {
  const columns = columnsOf(head);
  const peers = head.peers.map(({ name, version }) => `${name} ${version}`);
  const notes = [...(peers.length > 0 ? [`beside ${peers.join(', ')}`] : []), ...head.missingPeers];
  return {
    heading: `${renderMachine(head.machine)}${notes.map((note) => `${note}\n`).join('')}\n${tableHeading(columns)}\n`,
    row: ({ name, shape, medianUs, minUs, gflops, ofLimit, gbytes, peers }) => {
      const others = head.peers.flatMap((peer) => {
        const theirs = peers[peer.name];
        return [fixed(theirs?.gflops, 1), fixed(theirs?.ratio, 2)];
      });
      const ours = [fixed(medianUs, 0), fixed(minUs, 0), fixed(gflops, 1), percent(ofLimit), fixed(gbytes, 1)];
      return `${tableRow(columns, [name, shape, ...ours, ...others])}\n`;
    },
  };
}

function columnsOf({ cases, peers }: EngineBenchHead): Column[] {
  return [
    textColumn(
      'kernel',
      cases.map(({ name }) => name),
    ),
    textColumn(
      'shape',
      cases.map(({ shape }) => shape),
    ),
    numberColumn('median µs', 9),
    numberColumn('min µs', 8),
    numberColumn('GFLOP/s'),
    numberColumn('of limit'),
    numberColumn('GB/s', 5),
    ...peers.flatMap(({ name }) => [numberColumn(name, 7), numberColumn('ratio')]),
  ];
}
