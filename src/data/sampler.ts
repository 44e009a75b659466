/**
 * The training and validation batches: windows of a split. sampleOrder.ts decides where a step's windows begin; validation covers its
 * split without gaps or overlaps.
 */
import type { WeighedBatch } from '../base/batch.ts';
import { InvariantError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import { WindowBatch, type WindowNumbers } from '../base/windowBatch.ts';
import { nextTokenWindows, type TokenWindow } from '../task/nextToken.ts';
import { collate, type Task } from '../task/task.ts';
import { type CorpusShare, type SampleOptions, sampleStart } from './sampleOrder.ts';
import type { TokenSequence } from './tokenArray.ts';

/** The targets of a window. */
export type WindowTask = Task<TokenWindow>;

/** A run's training data. */
export interface TrainingSplit {
  /** The training split. */
  readonly train: TokenSequence;
  /** The consecutive corpora in `train`. */
  readonly corpora: readonly CorpusShare[];
  /** The targets of its windows. Default: the next token at every position. */
  readonly task?: WindowTask | undefined;
}

/** A split and the targets of its windows. */
export function taskOf({ task }: Pick<TrainingSplit, 'task'>): WindowTask {
  return task ?? nextTokenWindows;
}

/** A range of samples of one step. */
export interface TrainBatchOptions extends Omit<SampleOptions, 'index'> {
  /** First sample, as an index in the global batch. */
  readonly from: number;
  /** Number of samples. */
  readonly count: number;
}

const trainBatchNames = {
  from: true,
  count: true,
  seed: true,
  step: true,
  globalBatchSize: true,
  samplesBefore: true,
  blockSize: true,
  sampler: true,
} satisfies OptionNames<TrainBatchOptions>;

/** Samples `from` to `from + count - 1` of a step's global batch; its `weight` is the number of targets. UserError for an unknown option. */
export function trainBatch(split: TrainingSplit, options: TrainBatchOptions): WeighedBatch {
  checkOptionNames('trainBatch', options, trainBatchNames);
  return trainBatchIn(split, options);
}

/**
 * The same, for a caller in this library.
 * @param spare where the windows go, if it fits: an array that nobody reads any more
 */
export function trainBatchIn(split: TrainingSplit, options: TrainBatchOptions, spare?: WindowNumbers): WeighedBatch {
  const { train, corpora } = split;
  const { from, count, blockSize, step } = options;
  const windows: TokenWindow[] = [];
  const sample = { ...options, index: from };
  for (; sample.index < from + count; sample.index++) {
    const start = sampleStart(corpora, sample);
    windows.push(train.subarray(start, start + blockSize + 1));
  }
  return encodeWindows(
    windows,
    { blockSize, task: taskOf(split), spare },
    (row) => `sample ${from + row} of step ${step}`,
  );
}

/** Number of windows that cover a split: every token except the first is a target exactly once. */
export function valWindowCount(tokens: number, blockSize: number): number {
  return Math.ceil((tokens - 1) / blockSize);
}

export interface ValWindowsOptions {
  readonly blockSize: number;
  /** Window indices, from 0 to {@link valWindowCount} - 1. Window w holds the tokens from w · blockSize on. */
  readonly windows: readonly number[];
  /** The same as for training. */
  readonly task?: WindowTask | undefined;
}

/** Complete, non-overlapping windows of a split. The last window is padded with token 0 and target -1. */
export function valWindows(val: TokenSequence, { blockSize, windows, task }: ValWindowsOptions): WeighedBatch {
  const texts = windows.map((window) => {
    const start = window * blockSize;
    const length = Math.min(blockSize, val.length - 1 - start);
    if (!(window >= 0 && length >= 1)) throw new InvariantError(`there is no validation window ${window}`);
    return val.subarray(start, start + length + 1);
  });
  return encodeWindows(texts, { blockSize, task: taskOf({ task }) }, (row) => `validation window ${windows[row]}`);
}

/** How a validation pass covers a split. */
export interface ValBatchesOptions {
  /** Number of tokens in a window. */
  readonly blockSize: number;
  /** Number of windows in a batch; the last batch may have fewer. */
  readonly batchSize: number;
  /** Maximum number of batches, with windows spread evenly over the split: an estimate. Absent: the entire split. */
  readonly batches?: number;
  /** The targets of the windows. Default: the next token at every position. */
  readonly task?: WindowTask;
}

const valBatchesNames = {
  blockSize: true,
  batchSize: true,
  batches: true,
  task: true,
} satisfies OptionNames<ValBatchesOptions>;

/** The windows of each validation batch, for {@link valWindows}. They are always the same, so estimates are comparable. */
export function* valBatchWindows(
  tokens: number,
  { blockSize, batchSize, batches }: ValBatchesOptions,
): Generator<number[]> {
  const total = valWindowCount(tokens, blockSize);
  const used = Math.min(total, (batches ?? Number.POSITIVE_INFINITY) * batchSize);
  for (let from = 0; from < used; from += batchSize) {
    const size = Math.min(batchSize, used - from);
    yield Array.from({ length: size }, (_, i) => Math.floor(((from + i) * total) / used));
  }
}

/** The batches of a validation pass, in order. UserError for an unknown option. */
export function valBatches(val: TokenSequence, options: ValBatchesOptions): Generator<WeighedBatch> {
  // Here and not in the generator, which would say so only when its first batch is taken.
  checkOptionNames('valBatches', options, valBatchesNames);
  return batchesOf(val, options);
}

function* batchesOf(val: TokenSequence, options: ValBatchesOptions): Generator<WeighedBatch> {
  const { blockSize, task } = options;
  for (const windows of valBatchWindows(val.length, options)) yield valWindows(val, { blockSize, windows, task });
}

interface EncodingOptions {
  readonly blockSize: number;
  readonly task: WindowTask;
  readonly spare?: WindowNumbers | undefined;
}

/** @param nameOf the name of a window in messages */
function encodeWindows(
  windows: readonly TokenWindow[],
  { blockSize, task, spare }: EncodingOptions,
  nameOf: (row: number) => string,
): WeighedBatch {
  const complete = task === nextTokenWindows ? completeWindows(windows, blockSize, spare) : undefined;
  if (complete !== undefined) return complete;
  const samples = windows.map((window, row) => task.encode(task.parse(window, nameOf(row))));
  const batch = collate(task.fields, samples, blockSize);
  return { ...batch, weight: task.weight(batch) };
}

/** The batch without arrays, if no window is shorter than others: every target counts. */
function completeWindows(
  windows: readonly TokenWindow[],
  blockSize: number,
  spare?: WindowNumbers,
): WeighedBatch | undefined {
  const row = blockSize + 1;
  const [first] = windows;
  if (first === undefined || windows.some(({ length }) => length !== row)) return undefined;
  const size = windows.length * row;
  const Numbers = first instanceof Uint16Array ? Uint16Array : Uint32Array;
  const all = spare instanceof Numbers && spare.length === size ? spare : new Numbers(size);
  for (let i = 0; i < windows.length; i++) all.set(windows[i]!, i * row);
  return new WindowBatch(['tokens', 'targets'], all, blockSize, windows.length * blockSize);
}
