/** `launch eval`: the mean loss of a trained model over a full split of its own data, or of other data; the accuracy of a classifier or reward model. */
import type { ArgumentsCamelCase, Argv, CommandModule } from 'yargs';
import { hasEncoder, labelsOf } from '../architecture/registry.ts';
import { availableCores } from '../base/cores.ts';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { userPath } from '../base/userPath.ts';
import type { DataOptions, Dataset } from '../data/dataset.ts';
import { builtinRows } from '../data/examples/builtinRows.ts';
import { openDataset } from '../data/openDataset.ts';
import { type SourceFormat, sourceFormats } from '../data/prepare/fileKinds.ts';
import { findSources } from '../data/prepare/sources.ts';
import { isPreparedFolder } from '../data/shards/shardManifest.ts';
import type { TokenSequence } from '../data/tokenArray.ts';
import type { EngineOptions } from '../engine/registry.ts';
import { type Evaluation, evaluateTokens, measures } from '../run/evaluateTokens.ts';
import { EvaluationPool } from '../run/evaluationPool.ts';
import { type LoadedModel, loadModel } from '../run/loadModel.ts';
import { rowKindOf } from '../run/rowsToEvaluate.ts';
import { type BeamArguments, beamsOf, withBeamOptions } from './beamOptions.ts';
import { columnsOption, targetsOption } from './columns.ts';
import { evaluateOnRows, rowTasks } from './evaluateOnRows.ts';
import {
  checkpointChoiceOf,
  checkpointPositional,
  engineOptionsOf,
  type ModelArguments,
  numberOption,
  withModelOptions,
} from './options.ts';
import { refuseFile } from './refuseAsCheckpoint.ts';
import { statusLine } from './terminal.ts';

const splits = ['val', 'train', 'all'] as const;

interface EvaluateArguments extends ModelArguments, BeamArguments {
  readonly data: string | undefined;
  readonly field: string | undefined;
  readonly format: SourceFormat | undefined;
  readonly columns: string | undefined;
  readonly split: (typeof splits)[number];
  readonly task: (typeof rowTasks)[number] | undefined;
  readonly template: string | undefined;
  readonly targets: string | undefined;
  readonly workers: number;
  readonly json: boolean;
}

export const evaluateCommand: CommandModule<object, EvaluateArguments> = {
  builder: (yargs: Argv<object>) =>
    withBeamOptions(withModelOptions(yargs))
      .positional('checkpoint', checkpointPositional)
      .option('data', {
        type: 'string',
        requiresArg: true,
        describe:
          "Text or rows to evaluate: file, folder, glob, builtin, or a folder from prepare [default: the run's]",
      })
      .option('field', {
        type: 'string',
        requiresArg: true,
        describe: 'JSON key or table column that holds the text of --data [default: text]',
      })
      .option('format', {
        choices: sourceFormats,
        describe: 'Format of --data [default: detected from name and content]',
      })
      .option('columns', columnsOption)
      .option('split', {
        choices: splits,
        default: 'val' as const,
        describe: 'Part of the data, split as in the run; all: all of it',
      })
      .option('task', {
        choices: rowTasks,
        describe: 'Measure: exact or bleu for questions with answers, choices for contexts with endings',
      })
      .option('template', {
        type: 'string',
        requiresArg: true,
        describe: "Chat template of --task exact and bleu [default: the checkpoint's]",
      })
      .option('targets', targetsOption)
      .option('workers', {
        type: 'number',
        default: 1,
        requiresArg: true,
        describe: 'Processes that share the work and the cores, each with the model',
      })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('$0 eval runs/shakespeare-char', 'the validation split of the run')
      .example('$0 eval runs/spam --data test.csv', 'accuracy, F1 and confusion matrix of a classifier')
      .example('$0 eval runs/sft', 'loss and perplexity of its answers')
      .example('$0 eval runs/sft --task exact --data test.jsonl --workers 2', 'share of correct answers')
      .example('$0 eval runs/translate --task bleu --data a.en --targets a.es', 'BLEU of translations')
      .example('$0 eval gpt2/ --task choices --data hellaswag_val.jsonl', 'multiple choice by likelihood')
      .example('$0 eval gpt2/ --data book.txt --split all', 'published weights on a full text'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<EvaluateArguments>): Promise<void> {
  const warn = (message: string): void => void process.stderr.write(`warning: ${message}\n`);
  const cwd = process.cwd();
  const { data: text } = args;
  const workers = numberOption('workers', args.workers, { min: 1, max: 1024, whole: true });
  const { checkpoint, data } = args;
  if (checkpoint !== undefined && data === undefined) refuseFile({ command: 'eval', checkpoint, use: '--data' }, cwd);
  const loaded = await loadModel({ ...checkpointChoiceOf(args, warn), engine: engineOptionsOf(args) });
  let pool: EvaluationPool | undefined;
  try {
    process.stderr.write(`${loaded.description}\n`);
    if (workers > 1) {
      const { path } = loaded.checkpoint;
      pool = new EvaluationPool({
        workers,
        path,
        engine: engineOfShare(engineOptionsOf(args), workers),
        onWarning: warn,
      });
    }
    if (args.task !== undefined || (await readsRows(loaded, args, cwd))) {
      await evaluateOnRows(loaded, args, { cwd, evaluator: pool });
      return;
    }
    checkRowOptions(args);
    if (args.columns !== undefined) throw new UserError('--columns is for rows, but this is text: omit it');
    if (args.template !== undefined)
      throw new UserError('--template is for --task exact and bleu: add one, or omit it');
    const dataset = await openData(loaded, args, cwd);
    const isOwnData = compareData(loaded, dataset, text, warn);
    const parts = partsOf(dataset, args.split);
    checkParts(parts, args, dataset);
    const result = await evaluateTokens(loaded, parts, statusLine('evaluating'), pool);
    process.stdout.write(
      args.json ? `${toJson(loaded, dataset, isOwnData, args.split, result)}\n` : toText(dataset, args.split, result),
    );
  } finally {
    await pool?.close();
    await loaded.engine.dispose();
  }
}

/** @throws UserError for an option of rows, which text does not have */
function checkRowOptions({ targets, ...args }: ArgumentsCamelCase<EvaluateArguments>): void {
  if (targets !== undefined) {
    throw new UserError(
      '--targets is for models that translate (task.kind: seq2seq), but this one was trained on text: omit it',
    );
  }
  if (beamsOf(args).beams > 1) throw new UserError('--beams is for --task exact and bleu: add one, or omit it');
}

/** The engine of each of several processes: all have the same number of threads. */
function engineOfShare(engine: EngineOptions, workers: number): EngineOptions {
  return { ...engine, threads: engine.threads || Math.max(1, Math.floor(availableCores() / workers)) };
}

/** A model with labels or an encoder reads rows. One that generates text reads those of its run, or `--data` unless it is text. */
async function readsRows(
  loaded: LoadedModel,
  { data, field, format, split }: ArgumentsCamelCase<EvaluateArguments>,
  cwd: string,
): Promise<boolean> {
  const { config } = loaded.model;
  if (labelsOf(config).length > 0 || hasEncoder(config)) return true;
  const kind = rowKindOf(loaded);
  if (kind === undefined) return false;
  if (data === undefined) return true;
  if (field !== undefined || split !== 'val') return false;
  if (await isPreparedFolder(userPath(cwd, data))) return false;
  const sources = await findSources([data], {
    cwd,
    format,
    setting: '--data',
    reads: 'rows',
    builtinPath: builtinRows(kind),
    onNotice: () => undefined,
  });
  return sources.every((source) => source.format !== 'text');
}

/** The run's data, tokenized with the checkpoint's own tokenizer; `--data` replaces its `data.text`. */
async function openData(loaded: LoadedModel, args: EvaluateArguments, cwd: string): Promise<Dataset> {
  const { data: text, field, format } = args;
  if (text === undefined && (field ?? format) !== undefined) {
    throw new UserError("--field and --format need --data: add it, or omit them to use the run's own data");
  }
  const { runConfig, tokenizer, model } = loaded;
  const source = text ?? runConfig?.data.text;
  if (source === undefined) {
    throw new UserError(`${loaded.checkpoint.path} does not name its training data: give a text with --data`);
  }
  const valFraction = runConfig?.data.valFraction ?? 0.1;
  const isShards = text !== undefined && (await isPreparedFolder(userPath(cwd, text)));
  const lineEndings = runConfig?.data.lineEndings ?? 'lf';
  const own = { ...runConfig?.data, text: source, tokenizer: tokenizer.kind, valFraction };
  const given = {
    text: source,
    shards: isShards ? source : [],
    lineEndings,
    ...(field && { field }),
    ...(format && { format }),
  };
  const data: DataOptions = text === undefined ? own : { ...given, tokenizer: tokenizer.kind, valFraction };
  const { vocabSize } = model.config;
  const setting = text === undefined ? 'data.text' : '--data';
  const onProgress = statusLine('encoding the text');
  const onNotice = (line: string): void => void process.stderr.write(`${line}\n`);
  return openDataset(data, { vocabSize, cwd, tokenizer, setting, onNotice, onProgress });
}

/** Whether the tokens are the ones of the run; undefined if unknown. Warns if the run's own text has changed. */
function compareData(
  { checkpoint }: LoadedModel,
  { sha256 }: Dataset,
  text: string | undefined,
  warn: (message: string) => void,
): boolean | undefined {
  if (checkpoint.trainer === undefined) return undefined;
  const isSame = checkpoint.trainer.data.sha256 === sha256;
  if (!isSame && text === undefined) {
    warn('the text has changed since the checkpoint was written: parts of this split may have been trained on');
  }
  return isSame;
}

function partsOf({ train, val }: Dataset, split: (typeof splits)[number]): TokenSequence[] {
  return { val: [val], train: [train], all: [train, val] }[split];
}

/** The first token of a part cannot be predicted, so a part needs at least two. */
function checkParts(
  parts: readonly TokenSequence[],
  { data, split }: Pick<EvaluateArguments, 'data' | 'split'>,
  { description }: Dataset,
): void {
  if (parts.some(({ length }) => length >= 2)) return;
  const tokens = parts.reduce((sum, { length }) => sum + length, 0);
  throw new UserError(
    `${data === undefined ? 'data.text' : '--data'} is too short: ${description}. --split ${split} has ${tokens} tokens, expected at least 2 in a row` +
      (split === 'all' ? '' : ', or --split all'),
  );
}

function toText({ description }: Dataset, split: string, evaluation: Evaluation): string {
  const { loss, perplexity, bitsPerByte, tokens } = measures(evaluation);
  return (
    `${description}\n` +
    `${split} loss ${loss.toFixed(4)}, perplexity ${perplexity.toPrecision(5)}, ${bitsPerByte.toFixed(4)} bits per byte, ` +
    `over ${grouped(tokens)} tokens\n`
  );
}

function toJson(
  { checkpoint, engine }: LoadedModel,
  { description, sha256 }: Dataset,
  isOwnData: boolean | undefined,
  split: string,
  evaluation: Evaluation,
): string {
  return JSON.stringify({
    checkpoint: checkpoint.path,
    step: checkpoint.step ?? null,
    engine: engine.description,
    data: { description, sha256, sameAsTrained: isOwnData ?? null },
    split,
    ...measures(evaluation),
  });
}
