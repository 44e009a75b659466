/** `launch finetune MODEL ROWS`: trains weights on rows with settings that suit them. It is a shorter form of `launch --config KIND --set …`, which it prints. */
import { existsSync } from 'node:fs';
import { isDynamicPattern } from 'tinyglobby';
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes } from 'yargs';
import { parameterCount } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { isObjectPath } from '../base/objectPath.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { storedPath, userPath } from '../base/userPath.ts';
import { isCheckpointFolder } from '../checkpoint/checkpointFolder.ts';
import { loadConfig } from '../config/load.ts';
import { builtinRows } from '../data/examples/builtinRows.ts';
import { type ReadRow, readRows } from '../data/examples/readRows.ts';
import { checkpointsIn } from '../run/checkpointsOfRun.ts';
import { findCheckpoint } from '../run/findCheckpoint.ts';
import { runsHint } from '../run/runFolder.ts';
import { kindOfRow } from '../task/kindOfRow.ts';
import { targetsOption } from './columns.ts';
import { fittingLength } from './fittingLength.ts';
import { print, warn } from './output.ts';
import { runTrain } from './train.ts';
import { trainOptions } from './trainOptions.ts';

const kinds = ['sft', 'classify', 'seq2seq', 'dpo', 'reward', 'lm'] as const;
type Kind = (typeof kinds)[number];

interface Start {
  readonly config: string;
  readonly settings: readonly string[];
  /** Whether the rate follows from the size of the weights. Otherwise that of the config or the settings applies. */
  readonly isRateFitted?: boolean;
}

/** The shipped config of each task, and what differs for weights that are already trained. */
export const starts: Readonly<Record<Kind, Start>> = {
  sft: { config: 'sft', settings: ['task.template=auto', 'train.epochs=2'], isRateFitted: true },
  classify: { config: 'classify', settings: ['train.epochs=3'], isRateFitted: true },
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
  lm: { config: 'sft', settings: ['task.kind=lm', 'train.epochs=2'], isRateFitted: true },
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
      .option('task', { choices: kinds, describe: 'What to learn from the rows [default: found by their keys]' })
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
  const cwd = process.cwd();
  await checkPaths(args, cwd);
  if (targets !== undefined && (args.task ?? 'seq2seq') !== 'seq2seq') {
    throw new UserError(`--targets is for --task seq2seq, but this is --task ${args.task}: omit one of the two`);
  }
  const chosen = args.set ?? [];
  const rows = await rowsOf(args, cwd);
  const kind = args.task ?? (targets === undefined ? kindOf(rows) : 'seq2seq');
  const { config, settings, isRateFitted = false } = starts[kind];
  const data = [
    `model.from=${JSON.stringify(args.model)}`,
    `data.examples=${JSON.stringify(targets === undefined ? args.rows : [args.rows, targets])}`,
  ];
  const isChosen = (key: string) => chosen.some((setting) => keyOf(setting) === key);
  const fitted = [
    ...(isRateFitted && !isChosen('schedule.learningRate') ? [await fittingRate(args.model, isChosen, cwd)] : []),
    // Epochs would determine the number of steps.
    ...(isChosen('train.maxSteps') ? ['train.epochs=0'] : []),
  ];
  const own = [...unchosen(settings, fitted), ...fitted];
  let set = [...data, ...unchosen(own, chosen), ...chosen];
  const { config: resolved } = loadConfig({ file: config, overrides: withWorkers(set, args.workers), cwd });
  const { settings: fitting, notice } = fittingLength(resolved, rows.length, isChosen);
  set = [...unchosen(set, fitting), ...fitting];
  const { workers, runDir } = args;
  const chosenToo = [
    ...(workers === undefined ? [] : ['--workers', String(workers)]),
    ...(runDir === undefined ? [] : ['--run-dir', runDir]),
  ];
  if (notice !== undefined) print(notice);
  print(`the same as: ${ownCommand('--config', config, ...chosenToo, '--set', ...set)}`);
  await runTrain({ ...args, config, set, initFrom: undefined, 'init-from': undefined, resume: undefined });
}

/** The learning rate as a setting, such as `schedule.learningRate=5e-5`. */
async function fittingRate(model: string, isChosen: (key: string) => boolean, cwd: string): Promise<string> {
  // The run opens the weights too, and prints their warnings.
  const onWarning = () => {};
  const { modelConfig } = await findCheckpoint({ path: model, cwd, onWarning, verify: 'model' });
  const rate = rateFor(parameterCount(modelConfig), isChosen('model.loraRank'));
  return `schedule.learningRate=${rate.toExponential()}`;
}

/**
 * The rate that suits GPT-2 of 124 million parameters, 5e-5 (LoRA: 3e-4), times the square root of how much smaller the weights are. The rates with which the
 * models of GPT-3 were pre-trained fall with their sizes in this way. Larger weights have GPT-2's; no rate is above 1e-3. One significant digit.
 */
export function rateFor(parameters: number, isLora: boolean): number {
  const scale = Math.max(1, Math.sqrt(124e6 / parameters));
  return Number(Math.min(1e-3, (isLora ? 3e-4 : 5e-5) * scale).toPrecision(1));
}

/** The settings whose keys `chosen` does not set. */
function unchosen(settings: readonly string[], chosen: readonly string[]): string[] {
  const keys = new Set(chosen.map(keyOf));
  return settings.filter((setting) => !keys.has(keyOf(setting)));
}

function keyOf(setting: string): string {
  return setting.slice(0, setting.indexOf('=')).trim();
}

/** A schema may relate the number of workers to other keys. */
function withWorkers(set: readonly string[], workers: number | undefined): string[] {
  return workers === undefined ? [...set] : [...set, `train.workers=${workers}`];
}

/** @throws UserError for a path that names nothing, and for weights and rows in the wrong order */
export async function checkPaths({ model, rows }: Pick<Positionals, 'model' | 'rows'>, cwd: string): Promise<void> {
  const isThere = (path: string) => isObjectPath(path) || existsSync(storedPath(cwd, path));
  const hasRows = isThere(rows) || rows === 'builtin' || isDynamicPattern(rows);
  const weights = 'the weights (a run, a checkpoint or a folder of GPT-2, Llama or MarianMT weights)';
  if (!isThere(model)) {
    const missing = hasRows ? `no file or folder ${model}` : `neither ${model} nor ${rows}`;
    throw new UserError(
      `finetune: there is ${missing} in ${cwd}. Name ${weights}, then the rows${await runsHint(userPath(cwd, model), cwd)}`,
    );
  }
  if (!hasRows) {
    throw new UserError(
      `finetune: there is no file or folder ${rows} in ${cwd}. Put the path of your rows after the weights: ${ownCommand('finetune', model, 'PATH')} (a file, folder or glob)`,
    );
  }
  if ((await hasWeights(rows, cwd)) && !(await hasWeights(model, cwd))) {
    throw new UserError(
      `finetune: ${rows} has weights, and ${model} has none. Name the weights first: ${ownCommand('finetune', rows, model)}`,
    );
  }
}

/** Whether this is a checkpoint, a run or a folder of weights. */
async function hasWeights(path: string, cwd: string): Promise<boolean> {
  const folder = storedPath(cwd, path);
  return (await isCheckpointFolder(folder)) || (await checkpointsIn(folder)) !== undefined;
}

async function rowsOf(
  {
    rows,
    targets,
    task = targets === undefined ? 'sft' : 'seq2seq',
    set = [],
  }: Pick<FinetuneArguments, 'rows' | 'targets' | 'task' | 'set'>,
  cwd: string,
): Promise<ReadRow[]> {
  const { config: file, settings } = starts[task];
  const paths = targets === undefined ? [rows] : [rows, targets];
  const overrides = [...unchosen(settings, set), ...set, `data.examples=${JSON.stringify(paths)}`];
  const { columns, format } = loadConfig({ file, overrides, cwd }).config.data;
  return readRows({
    paths,
    setting: 'data.examples',
    cwd,
    columns,
    format: format === 'auto' ? undefined : format,
    builtinPath: builtinRows(task),
    aligned: task === 'seq2seq',
    onNotice: warn,
  });
}

/** The task that the first row shows. */
function kindOf(rows: readonly ReadRow[]): Kind {
  return kindOfRow(rows[0]!, (...names) => `--set data.columns=[${names.join(',')}]`);
}
