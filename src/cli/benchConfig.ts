/** The options that give a benchmark its model and engine: a config with overrides. */
import type { Argv } from 'yargs';
import type { ModelConfig } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { refuseConflicts } from '../base/overrideConflicts.ts';
import { parseTokenizerKind, type TokenizerKind } from '../base/tokenizerKind.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import { loadConfig } from '../config/load.ts';
import type { Engine } from '../engine/engine.ts';
import { engineNames } from '../engine/engines.ts';
import { createEngine, type EngineOptions, selectEngine } from '../engine/registry.ts';
import { type IsaOption, isaOption } from './options.ts';

export interface BenchConfigArguments {
  readonly config?: string | undefined;
  readonly set: string[];
  readonly engine?: Config['engine']['name'] | undefined;
  readonly threads?: number | undefined;
  readonly precision?: Config['engine']['precision'] | undefined;
  readonly isa: IsaOption;
}

/** Vocabulary sizes without a text. For characters: that of Shakespeare. */
const vocabSizes = { char: 65, byte: 257, gpt2: 50257, cl100k: 100277, o200k: 200019 } as const;

export function withBenchConfig<T>(yargs: Argv<T>): Argv<T & BenchConfigArguments> {
  return yargs
    .option('config', { type: 'string', describe: 'Config file, as for training' })
    .option('set', { type: 'string', array: true, default: [], describe: 'Override keys, such as model.nLayer=4' })
    .option('engine', { choices: engineNames, describe: 'Compute engine (engine.name)' })
    .option('threads', { type: 'number', describe: 'Compute threads (engine.threads); 0: one per core' })
    .option('precision', { choices: ['float32', 'bf16', 'f16'] as const, describe: 'Precision (engine.precision)' })
    .option('isa', isaOption);
}

export function benchConfigOf(args: BenchConfigArguments): { config: Config; model: ModelConfig } {
  const options = {
    ...(args.engine === undefined ? {} : { [`--engine ${args.engine}`]: `engine.name=${args.engine}` }),
    ...(args.threads === undefined ? {} : { [`--threads ${args.threads}`]: `engine.threads=${args.threads}` }),
    ...(args.precision === undefined
      ? {}
      : { [`--precision ${args.precision}`]: `engine.precision=${args.precision}` }),
  };
  refuseConflicts(args.set, options);
  const overrides = [...args.set, ...Object.values(options)];
  const file = args.config === undefined ? {} : { file: args.config };
  const { config } = loadConfig({ ...file, overrides, cwd: process.cwd() });
  const vocabSize = config.model.vocabSize || vocabSizeOf(config.data.tokenizer);
  return { config, model: modelOf(config.model, vocabSize) };
}

function vocabSizeOf(tokenizer: TokenizerKind): number {
  const spec = parseTokenizerKind(tokenizer);
  if (spec === undefined || spec.type === 'file') {
    throw new UserError(`bench does not read data.tokenizer ${tokenizer}: set model.vocabSize`);
  }
  return spec.type === 'bpe' ? spec.vocabSize : vocabSizes[spec.type];
}

/** The engine that the options name, on the requested instruction set. */
export async function benchEngineOf(options: EngineOptions, isa: IsaOption): Promise<Engine> {
  const { name } = await selectEngine(options);
  if (isa !== 'auto' && name !== 'native') {
    throw new UserError(`--isa ${isa} needs the native engine, but the engine is ${name}`);
  }
  return await createEngine({ ...options, unit: isa });
}
