/** `launch bench engine`: times the native engine's kernels against the machine's floating-point limit and other libraries. */
import type { CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { type EngineBenchListener, runEngineBench } from '../bench/engineBench.ts';
import { engineTable } from '../bench/engineReport.ts';
import { type IsaOption, isaOption } from './benchOptions.ts';
import { statusLine } from './statusLine.ts';

interface BenchEngineArguments {
  threads: number;
  isa: IsaOption;
  peers: 'auto' | 'none';
  only?: string | undefined;
  json: boolean;
}

export const benchEngineCommand: CommandModule<unknown, BenchEngineArguments> = {
  command: 'engine',
  describe: "Time the native engine's kernels against the machine's FMA limit, oneDNN and OpenBLAS",
  builder: (yargs) =>
    yargs
      .option('threads', { type: 'number', default: 0, describe: 'Threads of a kernel; 0: one per core' })
      .option('isa', isaOption)
      .option('peers', {
        choices: ['auto', 'none'] as const,
        default: 'auto' as const,
        describe: 'auto: compare matrix products with oneDNN and OpenBLAS where they are installed',
      })
      .option('only', {
        type: 'string',
        requiresArg: true,
        describe: 'Only kernels and shapes that match, a regular expression',
      })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('launch bench engine', 'all cores, the best instruction set')
      .example("launch bench engine --only 'linear.* 768×'", 'the products of shakespeare-char')
      .example('launch bench engine --threads 1 --isa avx2 --json', 'for a program to read'),
  handler: async ({ threads, isa, peers, only, json }) => {
    const options = { threads, isa, peers: peers === 'auto', ...(only !== undefined && { only: patternOf(only) }) };
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
