/** `launch bench generate`: times prompts and tokens with random weights or those of a checkpoint. */
import type { CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { renderGeneration, runGenerateBench } from '../bench/generateBench.ts';
import type { Engine } from '../engine/engine.ts';
import { Model } from '../model/model.ts';
import { parameterSpecs } from '../model/parameterOrder.ts';
import { Parameters } from '../model/parameterStore.ts';
import { loadModel } from '../run/loadModel.ts';
import { type BenchConfigArguments, benchConfigOf, benchEngineOf, withBenchConfig } from './benchConfig.ts';
import { countsOption, numberOption } from './options.ts';
import { statusLine } from './terminal.ts';

interface BenchGenerateArguments extends BenchConfigArguments {
  readonly checkpoint?: string | undefined;
  readonly prompts?: string | undefined;
  readonly batch: string;
  readonly tokens?: number | undefined;
  readonly runs: number;
  readonly json: boolean;
}

export const benchGenerateCommand: CommandModule<unknown, BenchGenerateArguments> = {
  builder: (yargs) =>
    withBenchConfig(yargs)
      .option('checkpoint', {
        type: 'string',
        requiresArg: true,
        describe: 'Model to load, as for generate; without it, random weights',
      })
      .option('prompts', {
        type: 'string',
        requiresArg: true,
        describe: 'Prompt lengths, separated by commas [default: 1/64 and 1/2 of blockSize]',
      })
      .option('batch', {
        type: 'string',
        requiresArg: true,
        default: '1',
        describe: 'Numbers of sequences to decode together, separated by commas',
      })
      .option('tokens', {
        type: 'number',
        requiresArg: true,
        describe: "Tokens to time after a prompt's first one [default: 32, or as many as fit]",
      })
      .option('runs', { type: 'number', default: 3, describe: 'Timed runs per prompt, after one warm-up run' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('$0 bench generate --config gpt-small.yaml', '124 M parameters')
      .example('$0 bench generate --config gpt-small.yaml --batch 1,8', 'the gain of serving several requests at once')
      .example('$0 bench generate --checkpoint runs/quickstart --prompts 1,30 --json', 'for a program to read'),
  handler: async (args) => {
    numberOption('runs', args.runs, { min: 1, max: 1e6, whole: true });
    if (args.tokens !== undefined) numberOption('tokens', args.tokens, { min: 1, max: 1e6, whole: true });
    const { engine, model } = await modelOf(args);
    try {
      const { blockSize } = model.config;
      const prompts = args.prompts === undefined ? defaultPrompts(blockSize) : parsePrompts(args.prompts);
      const longest = Math.max(...prompts);
      const tokens = args.tokens ?? Math.max(1, Math.min(32, blockSize - longest));
      if (longest + tokens > blockSize) {
        throw new UserError(
          `a prompt of ${longest} tokens plus ${tokens} more exceeds the model's blockSize ${blockSize}: lower --prompts or --tokens`,
        );
      }
      const batches = countsOption('batch', args.batch, { min: 1, max: 256 });
      const options = { prompts, batches, tokens, runs: args.runs };
      const report = await runGenerateBench(engine, model, options, statusLine('timing generation'));
      process.stdout.write(args.json ? `${JSON.stringify(report, null, 2)}\n` : renderGeneration(report));
    } finally {
      await engine.dispose();
    }
  },
};

async function modelOf(args: BenchGenerateArguments): Promise<{ engine: Engine; model: Model }> {
  const { config, model } = benchConfigOf(args);
  if (config.engine.precision !== 'float32') {
    throw new UserError(
      `generation computes in float32, but engine.precision is ${config.engine.precision}: omit it or use --precision float32`,
    );
  }
  if (args.checkpoint === undefined) {
    const engine = await benchEngineOf(config.engine, args.isa);
    const parameters = new Parameters(engine, parameterSpecs(model), { training: false });
    parameters.initialise(config.train.seed);
    return { engine, model: new Model(engine, model, parameters) };
  }
  if (args.config !== undefined || args.set.length > 0 || args.isa !== 'auto') {
    throw new UserError('--checkpoint defines the model: omit --config, --set and --isa');
  }
  return await loadModel({
    path: args.checkpoint,
    cwd: process.cwd(),
    engine: config.engine,
    onWarning: (message) => process.stderr.write(`warning: ${message}\n`),
  });
}

function defaultPrompts(blockSize: number): number[] {
  return [Math.max(1, blockSize >> 6), Math.max(1, blockSize >> 1)];
}

function parsePrompts(text: string): number[] {
  const prompts = text.split(',').map(Number);
  if (prompts.some((length) => !Number.isInteger(length) || length < 1 || length > 1e6)) {
    throw new UserError(
      `--prompts: expected numbers from 1 to 1000000, such as 16,512, received ${JSON.stringify(text)}`,
    );
  }
  return prompts;
}
