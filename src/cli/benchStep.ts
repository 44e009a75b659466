/** `launch bench step`: times whole training steps of one replica. */
import type { CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { runStepBench, type StepBenchListener } from '../bench/stepBench.ts';
import { renderHead, renderKernels, renderMemory, renderPhases } from '../bench/stepReport.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { Engine } from '../engine/engine.ts';
import { createNativeEngine } from '../engine/native/nativeEngine.ts';
import { createEngine, selectEngine } from '../engine/registry.ts';
import { type IsaOption, isaOption } from './benchOptions.ts';
import { numberOption } from './modelOptions.ts';
import { statusLine } from './statusLine.ts';

interface BenchStepArguments {
  config?: string | undefined;
  set: string[];
  engine?: Config['engine']['name'] | undefined;
  threads?: number | undefined;
  isa: IsaOption;
  steps: number;
  shapes: boolean;
  json: boolean;
}

/** The vocabulary where no text says it: that of GPT-2, or of Shakespeare's characters. */
const defaultVocabSize = { gpt2: 50257, char: 65 } as const satisfies Record<Config['data']['tokenizer'], number>;

export const benchStepCommand: CommandModule<unknown, BenchStepArguments> = {
  command: 'step',
  describe: 'Time whole training steps of one replica on random tokens, by phase and by kernel',
  builder: (yargs) =>
    yargs
      .option('config', { type: 'string', describe: 'Configuration file, as for launch' })
      .option('set', { type: 'string', array: true, default: [], describe: 'Overrides, like model.nLayer=4' })
      .option('engine', { choices: ['auto', 'native', 'tfjs'] as const, describe: 'As engine.name' })
      .option('threads', { type: 'number', describe: 'As engine.threads; 0: one per core' })
      .option('isa', isaOption)
      .option('steps', { type: 'number', default: 20, describe: 'Steps timed, after one or two that are not' })
      .option('shapes', { type: 'boolean', default: false, describe: 'Kernels by shape too' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('launch bench step --config shakespeare-char.yaml', '0.8 M parameters')
      .example(
        'launch bench step --config gpt-small.yaml --set train.globalBatchSize=4 train.microBatchSize=4 --steps 3',
        '124 M',
      ),
  handler: async ({ config: file, set, engine: name, threads, isa, steps, shapes: byShape, json }) => {
    numberOption('steps', steps, { min: 1, max: 1e6, whole: true });
    const overrides = [
      ...set,
      ...(name === undefined ? [] : [`engine.name=${name}`]),
      ...(threads === undefined ? [] : [`engine.threads=${threads}`]),
    ];
    const { config } = loadConfig({ ...(file !== undefined && { file }), overrides, cwd: process.cwd() });
    const { train, optimizer } = config;
    const vocabSize = config.model.vocabSize || defaultVocabSize[config.data.tokenizer];
    const model = { ...config.model, vocabSize };
    const engine = await engineOf(config, isa);
    try {
      const status = statusLine('timing steps');
      const listener = json ? { progress: status } : { ...printer, progress: status };
      const report = await runStepBench(engine, { model, train, optimizer, steps, byShape }, listener);
      if (json) return print(`${JSON.stringify(report, null, 2)}\n`);
      if (report.kernels !== undefined) print(renderKernels(report.kernels));
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

/** The config's engine, on the instruction set that was asked for. */
async function engineOf({ engine }: Config, isa: IsaOption): Promise<Engine> {
  const { name, threads } = selectEngine(engine);
  if (name === 'native') return createNativeEngine({ threads, isa });
  if (isa !== 'auto') throw new UserError(`--isa ${isa} is for the native engine, but the engine is ${name}`);
  return await createEngine(engine);
}
