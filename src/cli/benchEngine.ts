/** `launch bench engine`: times the native engine's kernels against the machine's floating-point limit. */
import type { CommandModule } from 'yargs';
import { runEngineBench } from '../bench/engineBench.ts';
import { renderReport } from '../bench/report.ts';

interface BenchEngineArguments {
  threads: number;
  isa: 'auto' | 'avx512' | 'avx2' | 'neon' | 'scalar';
  json: boolean;
}

export const benchEngineCommand: CommandModule<unknown, BenchEngineArguments> = {
  command: 'engine',
  describe: "Time the native engine's kernels against the machine's FMA limit",
  builder: (yargs) =>
    yargs
      .option('threads', { type: 'number', default: 0, describe: 'Threads of a kernel; 0: one per core' })
      .option('isa', {
        choices: ['auto', 'avx512', 'avx2', 'neon', 'scalar'] as const,
        default: 'auto' as const,
        describe: 'Instruction set',
      })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('launch bench engine', 'all cores, the best instruction set')
      .example('launch bench engine --threads 1 --isa avx2 --json', 'for a program to read'),
  handler: async ({ threads, isa, json }) => {
    const report = await runEngineBench({ threads, isa });
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : renderReport(report));
  },
};
