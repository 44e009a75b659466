/**
 * `launch` and `launch train` for the parser. The work is in `train.ts`: the help of `launch` shows these options and must not load the
 * training code.
 */
import type { CommandModule, InferredOptionTypes } from 'yargs';
import { trainOptions } from './trainOptions.ts';

type TrainCommand = CommandModule<object, InferredOptionTypes<typeof trainOptions>>;

/** The options in the help of `launch` itself, so that it fits one screen with the commands. */
const shownFirst = new Set(['config', 'workers', 'set', 'resume', 'run-dir', 'dashboard']);
const hidden = Object.keys(trainOptions).filter((name) => !shownFirst.has(name));

/** @param typed the words after `launch`: without `train`, the help shows only the most important options */
export function trainCommand(typed: readonly string[]): TrainCommand {
  // A shell that completes words sends them after this flag and the program's name.
  const words = typed[0] === '--get-yargs-completions' ? typed.slice(2) : typed;
  return words[0] === 'train' ? fullCommand : { ...fullCommand, builder: firstBuilder };
}

const firstBuilder: TrainCommand['builder'] = (yargs) =>
  hidden
    .reduce((parser, name) => parser.hide(name), yargs.options(trainOptions))
    .example('$0', 'train a small model on the built-in text with 2 workers')
    .example('$0 --workers 4 --config gpt-small.yaml', 'GPT-2 124M, data-parallel over 4 processes')
    .example('$0 --config my.yaml --set train.maxSteps=500', 'override a key of the config')
    .example('$0 --resume runs/gpt-small', 'resume from the newest complete checkpoint')
    .example('$0 train --help', 'all training options');

const fullCommand: TrainCommand = {
  builder: (yargs) =>
    yargs
      .options(trainOptions)
      .example('$0', 'train on the built-in text with 2 workers')
      .example('$0 --workers 4 --config gpt-small.yaml', 'GPT-2 124M, data-parallel over 4 processes')
      .example('$0 --config my.yaml --set train.maxSteps=500 optimizer.weightDecay=0', 'override keys')
      .example('$0 --resume runs/gpt-small', 'resume from the newest complete checkpoint')
      .example('$0 --listen tcp://0.0.0.0:5555 --workers 2 --min-workers 4', 'wait for 2 workers to join')
      .example('$0 --config lora --init-from gpt2/ --set data.text=book.txt', 'train only LoRA adapters of weights')
      .example('$0 --config grpo --init-from runs/sft', 'learn from rewards of its own answers')
      .example('$0 --dashboard --trace 20', 'show live curves, record 20 steps')
      .example('$0 --workers 4 --min-workers 2', 'continue with at least 2 of 4 if workers die'),
  handler: async (args) => (await import('./train.ts')).runTrain(args),
};
