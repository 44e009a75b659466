/**
 * `launch` and `launch train` for the parser. The work is in `train.ts`: the help of `launch` shows these options and must not load the
 * training code.
 */
import type { CommandModule, InferredOptionTypes } from 'yargs';
import { trainOptions } from './trainOptions.ts';

export const trainCommand: CommandModule<object, InferredOptionTypes<typeof trainOptions>> = {
  builder: (yargs) =>
    yargs
      .options(trainOptions)
      .example('$0', 'train a small model on the built-in text with 2 workers')
      .example('$0 --workers 4 --config gpt-small.yaml', 'GPT-2 124M, data-parallel over 4 processes')
      .example('$0 --config my.yaml --set train.maxSteps=500 optimizer.weightDecay=0', 'override keys')
      .example('$0 --init-from gpt2/ --set data.text=book.txt', 'fine-tune published weights')
      .example('$0 --resume runs/gpt-small', 'resume from the newest complete checkpoint')
      .example('$0 --listen tcp://0.0.0.0:5555 --workers 2 --min-workers 4', 'wait for 2 workers to join')
      .example('$0 --dashboard', 'serve a page with live curves')
      .example('$0 --trace 20', 'record a timeline of 20 steps')
      .example('$0 --workers 4 --min-workers 2', 'continue with at least 2 of 4 if workers die'),
  handler: async (args) => (await import('./train.ts')).runTrain(args),
};
