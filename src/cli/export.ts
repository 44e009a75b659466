/** `launch export`: the adapters of a model alone, in the format of another library. */
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { shortPath } from '../base/shortPath.ts';
import { exportAdapter } from '../run/exportModel.ts';
import { checkpointChoiceOf } from './options.ts';

const exportOptions = {
  format: {
    choices: ['peft'] as const,
    default: 'peft' as const,
    describe: "peft: an adapter for Hugging Face's PEFT",
  },
  out: { type: 'string', requiresArg: true, demandOption: true, describe: 'Folder to write, which must not exist' },
  base: {
    type: 'string',
    requiresArg: true,
    describe:
      'Weights that the adapter is for: a folder, or the name of published ones [default: model.from of the run]',
  },
  best: {
    type: 'boolean',
    default: false,
    describe: 'Use the checkpoint with the lowest validation loss instead of the newest',
  },
} as const satisfies Record<string, Options>;

type ExportArguments = InferredOptionTypes<typeof exportOptions> & { readonly model: string };

export const exportCommand: CommandModule<object, ExportArguments> = {
  builder: (yargs) =>
    yargs
      .positional('model', { type: 'string', demandOption: true, describe: 'Run directory or checkpoint with LoRA' })
      .options(exportOptions)
      .example('$0 export runs/lora --out adapter/', 'an adapter for PEFT')
      .example(
        '$0 export runs/lora --base openai-community/gpt2 --out adapter/',
        'which loads published weights',
      ) as never,
  handler: run,
};

async function run(args: ArgumentsCamelCase<ExportArguments>): Promise<void> {
  const warn = (message: string): void => void process.stderr.write(`warning: ${message}\n`);
  const choice = checkpointChoiceOf({ checkpoint: args.model, best: args.best }, warn);
  const { path, base } = await exportAdapter(choice, args.out, args.base);
  process.stderr.write(`adapter of ${base}\n`);
  process.stdout.write(`${shortPath(path)}\n`);
}
