/** `launch bench step`: times training steps of one replica. */
import type { CommandModule } from 'yargs';
import { runStepBench, type StepBenchListener } from '../bench/stepBench.ts';
import { renderHead, renderKernels, renderMemory, renderPhases } from '../bench/stepReport.ts';
import { type BenchConfigArguments, benchConfigOf, benchEngineOf, withBenchConfig } from './benchConfig.ts';
import { numberOption } from './options.ts';
import { statusLine } from './terminal.ts';

interface BenchStepArguments extends BenchConfigArguments {
  readonly steps: number;
  readonly shapes: boolean;
  readonly json: boolean;
}

export const benchStepCommand: CommandModule<unknown, BenchStepArguments> = {
  builder: (yargs) =>
    withBenchConfig(yargs)
      .option('steps', { type: 'number', default: 20, describe: 'Timed steps, after one or two for warm-up' })
      .option('shapes', { type: 'boolean', default: false, describe: 'List kernels by shape as well' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('$0 bench step --config shakespeare-char.yaml', '0.8 M parameters')
      .example(
        '$0 bench step --config gpt-small.yaml --set train.globalBatchSize=4 train.microBatchSize=4 --steps 3',
        '124 M',
      ),
  handler: async ({ steps, shapes: byShape, json, ...args }) => {
    numberOption('steps', steps, { min: 1, max: 1e6, whole: true });
    const { config, model } = benchConfigOf(args);
    const { train, optimizer } = config;
    const engine = await benchEngineOf(config.engine, args.isa);
    try {
      const status = statusLine('timing steps');
      const listener = json ? { progress: status } : { ...printer, progress: status };
      const report = await runStepBench(
        engine,
        { model, train, optimizer, precision: config.engine.precision, steps, byShape },
        listener,
      );
      if (json) return print(`${JSON.stringify(report, null, 2)}\n`);
      print(renderKernels(report.kernels));
      print(renderMemory(report));
    } finally {
      await engine.dispose();
    }
  },
};

const printer: StepBenchListener = {
  started: (head) => print(renderHead(head)),
  stepsTimed: (results) => print(renderPhases(results)),
};

function print(text: string): void {
  process.stdout.write(text);
}
