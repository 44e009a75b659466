/** `launch finetune MODEL ROWS`: trains weights on rows with settings that suit them. It is a shorter form of `launch --config KIND --set …`, which it prints. */
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes } from 'yargs';
import { UserError } from '../base/errors.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { loadConfig } from '../config/load.ts';
import { readRows } from '../data/examples/readRows.ts';
import { kindOfRow } from '../task/kindOfRow.ts';
import { targetsOption } from './columns.ts';
import { print, warn } from './output.ts';
import { runTrain } from './train.ts';
import { trainOptions } from './trainOptions.ts';

const kinds = ['sft', 'classify', 'seq2seq', 'dpo', 'reward', 'lm'] as const;
type Kind = (typeof kinds)[number];

/** The shipped config of each task, and what differs for weights that are already trained. */
export const starts: Readonly<Record<Kind, { readonly config: string; readonly settings: readonly string[] }>> = {
  sft: { config: 'sft', settings: ['task.template=auto', 'schedule.learningRate=5e-5', 'train.epochs=2'] },
  classify: { config: 'classify', settings: ['schedule.learningRate=5e-5', 'train.epochs=3'] },
  seq2seq: {
    config: 'translate',
    // The schedule of random weights rises for 100 steps, which is longer than many runs on rows of one's own.
    settings: [
      ...['schedule.kind=cosine', 'schedule.learningRate=1e-4', 'schedule.minLearningRate=0'],
      ...['schedule.warmupSteps=0', 'train.epochs=2'],
    ],
  },
  dpo: { config: 'dpo', settings: [] },
  reward: { config: 'reward', settings: [] },
  lm: { config: 'sft', settings: ['task.kind=lm', 'schedule.learningRate=5e-5', 'train.epochs=2'] },
};

// What these options would set is what the command is for.
const { config: _config, 'init-from': _initFrom, resume: _resume, ...options } = trainOptions;

interface Positionals {
  readonly model: string;
  readonly rows: string;
  readonly task: Kind | undefined;
  readonly targets: string | undefined;
}

type FinetuneArguments = InferredOptionTypes<typeof options> & Positionals;

export const finetuneCommand: CommandModule<object, FinetuneArguments> = {
  builder: (yargs) =>
    yargs
      .positional('model', {
        type: 'string',
        demandOption: true,
        describe: 'Weights to start from: a run, a checkpoint or a folder of GPT-2, Llama or MarianMT weights',
      })
      .positional('rows', {
        type: 'string',
        demandOption: true,
        describe: 'Rows to train on: JSON Lines, JSON, CSV, TSV or Parquet; with --targets, a text file of sources',
      })
      .option('task', { choices: kinds, describe: 'What to learn from the rows [default: what their keys show]' })
      .option('targets', targetsOption)
      .options(options)
      .example('$0 finetune gpt2/ instructions.jsonl', 'answer instructions')
      .example('$0 finetune gpt2/ spam.csv --set train.trainable=lastBlocks:1', 'classify texts: columns text, label')
      .example('$0 finetune runs/translate a.en --targets a.es', 'translate texts, line by line')
      .example('$0 finetune runs/sft pairs.jsonl --task reward', 'a reward model from pairs of answers'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<FinetuneArguments>): Promise<void> {
  const { targets } = args;
  const kind = args.task ?? (targets === undefined ? await kindOf(args) : 'seq2seq');
  if (targets !== undefined && kind !== 'seq2seq') {
    throw new UserError(`--targets is for --task seq2seq, but this is --task ${kind}: omit one of the two`);
  }
  const { config, settings } = starts[kind];
  const chosen = args.set ?? [];
  const isChosen = (key: string) => chosen.some((setting) => setting.startsWith(`${key}=`));
  const set = [
    `model.from=${JSON.stringify(args.model)}`,
    `data.examples=${JSON.stringify(targets === undefined ? args.rows : [args.rows, targets])}`,
    ...settings.filter((setting) => !isChosen(setting.slice(0, setting.indexOf('=')))),
    ...chosen,
  ];
  const { workers, runDir } = args;
  const chosenToo = [
    ...(workers === undefined ? [] : ['--workers', String(workers)]),
    ...(runDir === undefined ? [] : ['--run-dir', runDir]),
  ];
  print(`the same as: ${ownCommand('--config', config, ...chosenToo, '--set', ...set)}`);
  await runTrain({ ...args, config, set, initFrom: undefined, 'init-from': undefined, resume: undefined });
}

/** The task that the first row shows. */
async function kindOf({ rows: path, set = [] }: Pick<FinetuneArguments, 'rows' | 'set'>): Promise<Kind> {
  const cwd = process.cwd();
  const overrides = [...set, `data.examples=${JSON.stringify(path)}`];
  const { columns, format } = loadConfig({ file: 'sft', overrides, cwd }).config.data;
  const rows = await readRows({
    paths: [path],
    setting: 'finetune',
    cwd,
    columns,
    format: format === 'auto' ? undefined : format,
    onNotice: warn,
  });
  return kindOfRow(rows[0]!, (...names) => `--set data.columns=[${names.join(',')}]`);
}
