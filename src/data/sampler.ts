/**
 * The tokens that a step trains on, and those that validate: windows of a split, as batches. Where the windows of a step begin is
 * sampleOrder.ts; validation walks over its split without gap or overlap.
 */
import type { WeighedBatch } from '../base/batch.ts';
import { InvariantError } from '../base/errors.ts';
import { nextTokenWindows, type TokenWindow } from '../task/nextToken.ts';
import { collate, type Task } from '../task/task.ts';
import { type CorpusShare, type SampleOptions, sampleStart } from './sampleOrder.ts';
import type { TokenSequence } from './tokenArray.ts';

/** What is to be learned from a window. */
export type WindowTask = Task<TokenWindow>;

/** What a run trains on. */
export interface TrainingSplit {
  /** The training split. */
  readonly train: TokenSequence;
  /** The corpora that lie one after another in `train`. */
  readonly corpora: readonly CorpusShare[];
  /** What is learned from its windows. Default: the next token, at every position. */
  readonly task?: WindowTask | undefined;
}

/** What is learned from a split's windows. */
export function taskOf({ task }: Pick<TrainingSplit, 'task'>): WindowTask {
  return task ?? nextTokenWindows;
}

/** Which samples of which step. */
export interface TrainBatchOptions extends Omit<SampleOptions, 'index'> {
  /** First sample, as an index in the global batch. */
  readonly from: number;
  /** How many samples. */
  readonly count: number;
}

/** Samples `from` to `from + count - 1` of a step's global batch; its `weight` is the number of its targets. */
export function trainBatch(split: TrainingSplit, options: TrainBatchOptions): WeighedBatch {
  const { train, corpora } = split;
  const { from, count, blockSize, step } = options;
  const windows = Array.from({ length: count }, (_, row): PlacedWindow => {
    const index = from + row;
    const start = sampleStart(corpora, { ...options, index });
    return { window: train.subarray(start, start + blockSize + 1), at: `sample ${index} of step ${step}` };
  });
  return encodeWindows(windows, blockSize, taskOf(split));
}

/** How many windows cover a split: every token but the first is a target exactly once. */
export function valWindowCount(tokens: number, blockSize: number): number {
  return Math.ceil((tokens - 1) / blockSize);
}

export interface ValWindowsOptions {
  readonly blockSize: number;
  /** Which windows, each from 0 to {@link valWindowCount} - 1; window w holds the tokens from w · blockSize on. */
  readonly windows: readonly number[];
  /** As it trains. */
  readonly task?: WindowTask | undefined;
}

/** Complete, non-overlapping windows of a split. What the last one lacks is padded with token 0 and target -1. */
export function valWindows(val: TokenSequence, { blockSize, windows, task }: ValWindowsOptions): WeighedBatch {
  const placed = windows.map((window): PlacedWindow => {
    const start = window * blockSize;
    const length = Math.min(blockSize, val.length - 1 - start);
    if (!(window >= 0 && length >= 1)) throw new InvariantError(`there is no validation window ${window}`);
    return { window: val.subarray(start, start + length + 1), at: `validation window ${window}` };
  });
  return encodeWindows(placed, blockSize, taskOf({ task }));
}

/** How a split is walked over. */
export interface ValBatchesOptions {
  /** Tokens of a window. */
  readonly blockSize: number;
  /** Windows in a batch; the last batch may have fewer. */
  readonly batchSize: number;
  /** At most so many batches, their windows spread evenly over the split: an estimate. Absent: the whole split. */
  readonly batches?: number;
  /** What is predicted of the windows. Default: the next token, at every position. */
  readonly task?: WindowTask;
}

/** The windows of each batch of a validation pass, for {@link valWindows}. Always the same ones, so estimates are comparable. */
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

/** The batches of a validation pass, in order. */
export function* valBatches(val: TokenSequence, options: ValBatchesOptions): Generator<WeighedBatch> {
  const { blockSize, task } = options;
  for (const windows of valBatchWindows(val.length, options)) yield valWindows(val, { blockSize, windows, task });
}

interface PlacedWindow {
  readonly window: TokenWindow;
  /** As messages name it. */
  readonly at: string;
}

function encodeWindows(windows: readonly PlacedWindow[], blockSize: number, task: WindowTask): WeighedBatch {
  const samples = windows.map(({ window, at }) => task.encode(task.parse(window, at)));
  const batch = collate(task.fields, samples, blockSize);
  return { ...batch, weight: task.weight(batch) };
}
