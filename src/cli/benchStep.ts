/** `launch bench step`: times whole training steps of one replica. */
import type { CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { runStepBench, type StepBenchReport } from '../bench/stepBench.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { createEngine } from '../engine/registry.ts';

interface BenchStepArguments {
  config?: string | undefined;
  set: string[];
  engine?: Config['engine']['name'] | undefined;
  threads?: number | undefined;
  steps: number;
  json: boolean;
}

/** The vocabulary where no text says it: that of GPT-2, or of Shakespeare's characters. */
const defaultVocabSize = { gpt2: 50257, char: 65 } as const satisfies Record<Config['data']['tokenizer'], number>;

export const benchStepCommand: CommandModule<unknown, BenchStepArguments> = {
  command: 'step',
  describe: 'Time whole training steps of one replica on random tokens',
  builder: (yargs) =>
    yargs
      .option('config', { type: 'string', describe: 'Configuration file, as for launch' })
      .option('set', { type: 'string', array: true, default: [], describe: 'Overrides, like model.nLayer=4' })
      .option('engine', { choices: ['auto', 'native', 'tfjs'] as const, describe: 'As engine.name' })
      .option('threads', { type: 'number', describe: 'As engine.threads; 0: one per core' })
      .option('steps', { type: 'number', default: 20, describe: 'Steps timed, after two that are not' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('launch bench step --config shakespeare-char.yaml', '0.8 M parameters')
      .example('launch bench step --config gpt-small.yaml --set train.globalBatchSize=1 --steps 3 --json', '124 M'),
  handler: async ({ config: file, set, engine: name, threads, steps, json }) => {
    if (!Number.isInteger(steps) || steps < 1) {
      throw new UserError(`Expected a whole number of at least 1 for --steps, but received ${steps}.`);
    }
    const overrides = [
      ...set,
      ...(name === undefined ? [] : [`engine.name=${name}`]),
      ...(threads === undefined ? [] : [`engine.threads=${threads}`]),
    ];
    const { config } = loadConfig({ ...(file !== undefined && { file }), overrides, cwd: process.cwd() });
    const vocabSize = config.model.vocabSize || defaultVocabSize[config.data.tokenizer];
    const engine = await createEngine(config.engine);
    try {
      const report = await runStepBench(engine, {
        model: { ...config.model, vocabSize },
        train: config.train,
        optimizer: config.optimizer,
        steps,
        threads: config.engine.threads,
      });
      process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : table(report));
    } finally {
      await engine.dispose();
    }
  },
};

function table({ machine, engine, parameters, tokensPerStep, formula, results }: StepBenchReport): string {
  const limit = machine === undefined ? '' : `; FMA limit ${machine.fmaGflops.toFixed(0)} GFLOP/s`;
  const step = results.find(({ name }) => name === 'step')!;
  const lines = [
    `${engine}; ${(parameters / 1e6).toFixed(2)} M parameters, ${tokensPerStep} tokens a step${limit}`,
    `${step.shape}: ${step.tokensPerSecond!.toFixed(0)} tokens/s`,
    'phase      median ms    min ms  GFLOP/s  of limit',
  ];
  for (const { name, medianMs, minMs, gflops, ofLimit } of results) {
    const cells = [
      name.padEnd(10),
      medianMs.toFixed(2).padStart(10),
      minMs.toFixed(2).padStart(10),
      (gflops?.toFixed(1) ?? '').padStart(9),
      (ofLimit === undefined ? '' : `${(100 * ofLimit).toFixed(0)} %`).padStart(10),
    ];
    lines.push(cells.join('').trimEnd());
  }
  return `${lines.join('\n')}\nFLOPs of a step: ${formula}\n`;
}
