/** The samples that `launch eval` measures a model on: rows of any file, or those of the model's own run. */
import { beginTokenOf, hasEncoder, labelsOf, type ModelConfig } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import type { Config } from '../config/configTypes.ts';
import { builtinRows } from '../data/examples/builtinRows.ts';
import { exampleSamples, type SampleForm } from '../data/examples/exampleSamples.ts';
import { openExamples } from '../data/examples/exampleSet.ts';
import { exampleTask } from '../data/examples/exampleTask.ts';
import { packExamples } from '../data/examples/packExamples.ts';
import { readRows } from '../data/examples/readRows.ts';
import type { SourceFormat } from '../data/prepare/fileKinds.ts';
import type { TaskKind } from '../task/kinds.ts';
import type { Sample } from '../task/task.ts';
import type { LoadedModel } from './loadModel.ts';

/** Which rows of the model's own run: those that validate, those that train, or all. */
export type RowSplit = 'val' | 'train' | 'all';

export interface RowsToEvaluateOptions {
  /** Files, folders and globs. Empty: the rows of the model's run. */
  readonly paths: readonly string[];
  /** Absent: determined by names and content. */
  readonly format?: SourceFormat | undefined;
  /** Names of the columns of a table without a header row. Absent: as in the model's run. */
  readonly columns?: readonly string[] | undefined;
  /** For the rows of the model's run. */
  readonly split: RowSplit;
  readonly cwd: string;
  readonly onNotice: (line: string) => void;
}

/** Samples, and what they teach. */
export interface RowsToEvaluate {
  readonly kind: TaskKind;
  readonly form: SampleForm;
  readonly samples: readonly Sample[];
}

/** The task that a model with labels or with an encoder learns; undefined for a language model. */
export function taskOfModel(config: ModelConfig): TaskKind | undefined {
  const labels = labelsOf(config).length;
  if (labels > 0) return labels === 1 ? 'reward' : 'classify';
  return hasEncoder(config) ? 'seq2seq' : undefined;
}

/** What the rows of a model contain: what its labels or its encoder say, otherwise the task of its run. Undefined for a model of text. */
export function rowKindOf({ model, runConfig }: Pick<LoadedModel, 'model' | 'runConfig'>): TaskKind | undefined {
  const ofModel = taskOfModel(model.config);
  if (ofModel !== undefined) return ofModel;
  if (runConfig === undefined || runConfig.data.examples.length === 0) return undefined;
  const { kind } = runConfig.task;
  // Prompts with answers are rows of sft.
  return kind === 'grpo' || kind === 'ppo' ? 'sft' : kind;
}

/** @throws UserError for a model of text, for rows that are missing or invalid, and if none fits the model */
export async function openRowsToEvaluate(loaded: LoadedModel, options: RowsToEvaluateOptions): Promise<RowsToEvaluate> {
  const { runConfig } = loaded;
  const kind = rowKindOf(loaded);
  if (kind === undefined) throw new UserError('this model was trained on text, not on rows: evaluate it on text');
  if (options.paths.length > 0) return readGiven(loaded, kind, options);
  if (runConfig === undefined || runConfig.data.examples.length === 0) {
    throw new UserError(`${loaded.checkpoint.path} does not name its training rows: give rows with --data`);
  }
  return readOwn(loaded, kind, { ...options, runConfig });
}

/** Rows that are too long lose tokens of their prompt, or are left out, and so are pairs of equal answers: their number is a notice. */
async function readGiven(
  loaded: LoadedModel,
  kind: TaskKind,
  { paths, format, cwd, onNotice, columns = loaded.runConfig?.data.columns ?? [] }: RowsToEvaluateOptions,
): Promise<RowsToEvaluate> {
  const { blockSize } = loaded.model.config;
  const rows = await readRows({
    paths,
    setting: '--data',
    cwd,
    columns,
    format,
    builtinPath: builtinRows(kind),
    aligned: kind === 'seq2seq',
    onNotice,
  });
  const { task } = await exampleTask({ examples: rows, all: rows }, taskOptions(loaded, kind, cwd));
  const [samples = []] = await exampleSamples([rows], {
    task,
    blockSize,
    tooLong: 'truncateOrDrop',
    equalPairs: 'drop',
    canLengthen: false,
    onNotice,
    onProgress: () => undefined,
  });
  if (samples.length > 0) return { kind, form: task.form, samples };
  const isPairs = kind === 'dpo' || kind === 'reward';
  throw new UserError(
    `--data: all rows are too long${isPairs ? ', or pairs of equal answers' : ''}: the model reads at most ${blockSize} tokens. ` +
      `Give ${isPairs ? 'other' : 'shorter'} rows`,
  );
}

/** Split as in the run. */
async function readOwn(
  loaded: LoadedModel,
  kind: TaskKind,
  { runConfig, split, cwd, onNotice }: RowsToEvaluateOptions & { readonly runConfig: Config },
): Promise<RowsToEvaluate> {
  const { data, task, train } = runConfig;
  const { checkpoint, model } = loaded;
  const { blockSize } = model.config;
  const set = await openExamples({
    data,
    kind,
    builtinPath: builtinRows(kind),
    aligned: kind === 'seq2seq',
    tooLong: task.tooLong,
    equalPairs: task.equalPairs,
    seed: train.seed,
    blockSize,
    canLengthen: false,
    validates: false,
    cwd,
    taskFor: (rows) => exampleTask(rows, taskOptions(loaded, kind, cwd)),
    onNotice,
    onWarning: onNotice,
    onProgress: () => undefined,
  });
  const { sha256 } = task.pack ? packExamples(set, blockSize) : set;
  if (checkpoint.trainer !== undefined && checkpoint.trainer.data.sha256 !== sha256) {
    onNotice('the rows have changed since the checkpoint was written: rows of this split may have been trained on');
  }
  const samples = { val: set.validation, train: set.train, all: [...set.train, ...set.validation] }[split];
  if (samples.length > 0) return { kind, form: set.form, samples };
  throw new UserError(`the run has no rows in --split ${split}: choose another one, or give rows with --data`);
}

/** The template is that of the checkpoint. */
function taskOptions({ model, tokenizer }: LoadedModel, kind: TaskKind, cwd: string) {
  const { config } = model;
  const [labels, beginToken] = [labelsOf(config), beginTokenOf(config)];
  return { kind, template: 'auto', labels, beginToken, tokenizerKind: tokenizer.kind, tokenizer, cwd };
}
