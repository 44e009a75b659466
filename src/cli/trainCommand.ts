/**
 * `launch` and `launch train` for the parser. What they do is in `train.ts`: the help of `launch` shows their options, and must not
 * wait for all that trains.
 */
import type { CommandModule, InferredOptionTypes } from 'yargs';
import { trainOptions } from './trainOptions.ts';

export const trainCommand: CommandModule<object, InferredOptionTypes<typeof trainOptions>> = {
  builder: (yargs) =>
    yargs
      .options(trainOptions)
      .example('$0', 'train a small model on the built-in text with 2 workers and print a sample')
      .example('$0 --workers 4 --config gpt-small.yaml', 'GPT-2 124M, data parallel over 4 processes')
      .example('$0 --config my.yaml --set train.maxSteps=500 optimizer.weightDecay=0', 'override keys')
      .example('$0 --init-from gpt2/ --set data.text=book.txt', 'fine-tune published weights on a text')
      .example('$0 --resume runs/gpt-small', 'go on from the newest whole checkpoint')
      .example('$0 --listen tcp://0.0.0.0:5555 --workers 2 --min-workers 4', 'wait for 2 more that join')
      .example('$0 --dashboard', 'with a page of live curves')
      .example('$0 --trace 20', 'a timeline of 20 steps, to be opened in ui.perfetto.dev')
      .example('$0 --workers 4 --min-workers 2', 'go on with 2 or more of 4 when workers die'),
  handler: async (args) => (await import('./train.ts')).runTrain(args),
};
