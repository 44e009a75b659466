/** Opens the examples of a run: reads their rows, splits them into training and validation, and encodes them with a task. */
import { createHash } from 'node:crypto';
import { UserError } from '../../base/errors.ts';
import { countOf, grouped } from '../../base/numberText.ts';
import { ownCommand, settingText } from '../../base/ownCommand.ts';
import { recognisedKind } from '../../task/kindOfRow.ts';
import type { TaskKind } from '../../task/kinds.ts';
import { namesOf, type PlacedRow } from '../../task/rows.ts';
import type { Sample } from '../../task/task.ts';
import type { SourceFormat } from '../prepare/fileKinds.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { heldOut } from './exampleOrder.ts';
import {
  countTokens,
  type EqualPairs,
  exampleSamples,
  type RowTask,
  type SampleForm,
  sampleHash,
  type TooLong,
} from './exampleSamples.ts';
import { type ReadRow, readRows, withHeaderAdvice } from './readRows.ts';

/** Training and validation samples of rows. */
export interface ExampleSet {
  /** The arrays of the samples, and the objective that learns from them. */
  readonly form: SampleForm;
  readonly tokenizer: Tokenizer;
  /** The classes of a classification, in order; empty for other tasks. */
  readonly labels: readonly string[];
  /** At least one. */
  readonly train: readonly Sample[];
  readonly validation: readonly Sample[];
  /** A one-line description for display. */
  readonly description: string;
  /** Hash of all samples, in order. Hexadecimal. */
  readonly sha256: string;
}

/** A task, and what was made for it from the rows. */
export interface ExampleTask {
  readonly task: RowTask;
  readonly tokenizer: Tokenizer;
  /** Absent: none. */
  readonly labels?: readonly string[];
}

export interface ExampleSetOptions {
  /** The keys of the group `data`. */
  readonly data: {
    readonly examples: string | readonly string[];
    readonly columns: readonly string[];
    readonly format: SourceFormat | 'auto';
    readonly validation: string | readonly string[];
    readonly valFraction: number;
  };
  /** `task.kind`, for messages about rows of other kinds. */
  readonly kind: TaskKind;
  /** The file that `builtin` stands for in `data.examples`; undefined: there is none. */
  readonly builtinPath: string | undefined;
  /** Whether two text files are rows, as in {@link readRows}. */
  readonly aligned: boolean;
  readonly tooLong: TooLong;
  readonly equalPairs: EqualPairs;
  /** Chooses the validation rows. */
  readonly seed: number;
  readonly blockSize: number;
  /** Whether a larger blockSize is possible. */
  readonly canLengthen: boolean;
  /** Whether validation rows are required. */
  readonly validates: boolean;
  readonly cwd: string;
  /** Makes the task. */
  readonly taskFor: (rows: TaskRows) => Promise<ExampleTask>;
  readonly onNotice: (line: string) => void;
  readonly onWarning: (line: string) => void;
  /** Called periodically with the fraction done, from 0 to 1. */
  readonly onProgress: (done: number) => void;
}

/** @throws UserError for missing or damaged files, for a row that the task refuses, and for too few rows; it names the file and line */
export async function openExamples(options: ExampleSetOptions): Promise<ExampleSet> {
  const rows = await readSplit(options);
  try {
    return await encode(rows, options);
  } catch (error) {
    throw withHeaderAdvice(withKindAdvice(error, rows, options), [...rows.train, ...rows.validation], 'data.examples');
  }
}

/** The error about a row, or that the rows are for another task, if the first of all shows this. */
function withKindAdvice(
  error: unknown,
  { first, train, validation }: SplitRows,
  { kind, data }: ExampleSetOptions,
): unknown {
  const shown = recognisedKind(first.row);
  const isRead = shown === undefined || shown === kind || (shown === 'dpo' && kind === 'reward');
  if (isRead || !(error instanceof UserError)) return error;
  const { message } = error;
  if (![...train, ...validation].some(({ at }) => message.startsWith(`${at}:`))) return error;
  const command = ownCommand('finetune', 'MODEL', ...[data.examples].flat().slice(0, 1));
  return new UserError(
    `${first.at}: a row with ${namesOf(first.row)} is for task.kind: ${shown}, but task.kind is ${kind}. ` +
      `Add ${settingText('task.kind', shown)}, or fine-tune weights on these rows: ${command}`,
    { cause: error },
  );
}

const leftOut = 'left out, as too long (task.tooLong: drop) or as pairs of equal answers (task.equalPairs: drop)';

/** The rows from which a task is made. */
export interface TaskRows {
  /** Those of `data.examples`, also those that are held out to validate. */
  readonly examples: readonly PlacedRow[];
  /** Also those of `data.validation`. */
  readonly all: readonly PlacedRow[];
}

interface SplitRows {
  /** The first row of `data.examples`, wherever it is used. */
  readonly first: ReadRow;
  readonly train: readonly ReadRow[];
  readonly validation: readonly ReadRow[];
}

async function encode(rows: SplitRows, options: ExampleSetOptions): Promise<ExampleSet> {
  const { data, taskFor } = options;
  const names = [data.examples].flat();
  const {
    task,
    tokenizer,
    labels = [],
  } = await taskFor({
    examples: [data.validation].flat().length > 0 ? rows.train : [...rows.train, ...rows.validation],
    all: [...rows.train, ...rows.validation],
  });
  const { blockSize, tooLong, equalPairs, canLengthen, onNotice, onProgress } = options;
  const [train = [], validation = []] = await exampleSamples([rows.train, rows.validation], {
    task,
    blockSize,
    tooLong,
    equalPairs,
    canLengthen,
    onNotice,
    onProgress,
  });
  if (train.length === 0) throw new UserError(`data.examples: all training rows were ${leftOut}`);
  if (options.validates && validation.length === 0) {
    throw new UserError(`data.examples: all validation rows were ${leftOut}`);
  }
  const hashes = [train, validation].map((samples) => samples.map(sampleHash));
  warnOfOverlap(hashes, options);
  const { form } = task;
  const counts = train.map((sample) => countTokens(form.fields, sample));
  const [tokens, targets] = [sumOf(counts.map((count) => count.tokens)), sumOf(counts.map((count) => count.targets))];
  return {
    form,
    tokenizer,
    labels,
    train,
    validation,
    description:
      `${names.join(', ')}: ${countOf(train.length, 'example')}, ${grouped(targets)} of ${grouped(tokens)} tokens are targets, ` +
      `${countOf(validation.length, 'example')} to validate, ${tokenizer.kind} tokenizer with ${grouped(tokenizer.vocabSize)} tokens`,
    sha256: createHash('sha256')
      .update(JSON.stringify([form.objective, ...hashes]))
      .digest('hex'),
  };
}

async function readSplit(options: ExampleSetOptions): Promise<SplitRows> {
  const { data, builtinPath, aligned, seed, validates, cwd, onNotice } = options;
  const format = data.format === 'auto' ? undefined : data.format;
  const read = (paths: readonly string[], setting: string) =>
    readRows({ paths, setting, cwd, format, builtinPath, aligned, columns: data.columns, onNotice });
  const rows = await read([data.examples].flat(), 'data.examples');
  const others = [data.validation].flat();
  const first = rows[0]!;
  if (others.length > 0) return { first, train: rows, validation: await read(others, 'data.validation') };
  const chosen = new Set(heldOut(rows.length, data.valFraction, seed));
  const train = rows.filter((_, i) => !chosen.has(i));
  const validation = rows.filter((_, i) => chosen.has(i));
  if (train.length > 0 && (validation.length > 0 || !validates)) return { first, train, validation };
  throw new UserError(
    `data.examples: found ${countOf(rows.length, 'row')}, of which data.valFraction: ${data.valFraction} leaves ${train.length} to train on and ` +
      `${validation.length} to validate: both need at least 1. Give more rows, rows of their own to validate (data.validation), or set eval.everySteps=0 and data.valFraction=0`,
  );
}

/** A model that has seen a validation row in training looks better than it is. */
function warnOfOverlap([train = [], validation = []]: readonly string[][], { onWarning }: ExampleSetOptions): void {
  const known = new Set(train);
  const both = validation.filter((hash) => known.has(hash)).length;
  if (both === 0) return;
  onWarning(
    `${grouped(both)} of ${grouped(validation.length)} validation rows are training rows too, which makes the validation loss look better than it is`,
  );
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
