/** `launch merge`: a model with adapters as ordinary weights, for any program that reads Hugging Face's layout. */
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { shortPath } from '../base/shortPath.ts';
import { mergeModel } from '../run/exportModel.ts';
import { checkpointChoiceOf, engineOptionsOf, type ModelArguments, withEngineOptions } from './options.ts';

interface MergeArguments extends Omit<ModelArguments, 'checkpoint'> {
  readonly model: string;
  readonly out: string;
}

export const mergeCommand: CommandModule<object, MergeArguments> = {
  builder: (yargs: Argv<object>) =>
    withEngineOptions(yargs)
      .positional('model', {
        type: 'string',
        demandOption: true,
        describe: 'Run directory or checkpoint with LoRA or of PPO, or an adapter of PEFT',
      })
      .option('out', {
        type: 'string',
        requiresArg: true,
        demandOption: true,
        describe: 'Folder to write, which must not exist',
      })
      .example('$0 merge runs/lora --out merged/', 'the newest checkpoint, for transformers and others')
      .example('$0 merge runs/lora --best --out merged/', 'the one with the lowest validation loss') as never,
  handler: run,
};

async function run(args: ArgumentsCamelCase<MergeArguments>): Promise<void> {
  const warn = (message: string): void => void process.stderr.write(`warning: ${message}\n`);
  const choice = checkpointChoiceOf({ checkpoint: args.model, best: args.best }, warn);
  const { path, engine } = await mergeModel({ ...choice, engine: engineOptionsOf(args) }, args.out);
  process.stderr.write(`merged by ${engine}\n`);
  process.stdout.write(`${shortPath(path)}\n`);
}
