/**
 * The tokens that a step trains on, and those that validate: windows of a split, as batches. Where the windows of a step begin is
 * sampleOrder.ts; validation walks over its split without gap or overlap.
 */
import { InvariantError } from '../base/errors.ts';
import { type CorpusShare, type SampleOptions, sampleStart } from './sampleOrder.ts';
import type { TokenSequence } from './tokenArray.ts';

/** Row-major [batchSize, blockSize]. `targets` are the next tokens; -1 marks a position that does not count. */
export interface Batch {
  /** (B, T), row after row. */
  readonly tokens: Int32Array;
  /** (B, T). */
  readonly targets: Int32Array;
  /** B: sequences. */
  readonly batchSize: number;
  /** T: tokens of each. */
  readonly blockSize: number;
  /** Positions that count: batchSize · blockSize but for a padded last window. */
  readonly targetCount: number;
}

/** What a run trains on. */
export interface TrainingSplit {
  /** The training split. */
  readonly train: TokenSequence;
  /** The corpora that lie one after another in `train`. */
  readonly corpora: readonly CorpusShare[];
}

/** Which samples of which step. */
export interface TrainBatchOptions extends Omit<SampleOptions, 'index'> {
  /** First sample, as an index in the global batch. */
  readonly from: number;
  /** How many samples. */
  readonly count: number;
}

/** Samples `from` to `from + count - 1` of a step's global batch. */
export function trainBatch({ train, corpora }: TrainingSplit, options: TrainBatchOptions): Batch {
  const { from, count, blockSize } = options;
  const batch = emptyBatch(count, blockSize);
  for (let row = 0; row < count; row++) {
    const start = sampleStart(corpora, { ...options, index: from + row });
    const window = train.subarray(start, start + blockSize + 1);
    batch.tokens.set(window.subarray(0, blockSize), row * blockSize);
    batch.targets.set(window.subarray(1), row * blockSize);
  }
  return { ...batch, targetCount: count * blockSize };
}

/** How many windows cover a split: every token but the first is a target exactly once. */
export function valWindowCount(tokens: number, blockSize: number): number {
  return Math.ceil((tokens - 1) / blockSize);
}

export interface ValWindowsOptions {
  readonly blockSize: number;
  /** Which windows, each from 0 to {@link valWindowCount} - 1; window w holds the tokens from w · blockSize on. */
  readonly windows: readonly number[];
}

/** Complete, non-overlapping windows of a split. What the last one lacks is padded with token 0 and target -1. */
export function valWindows(val: TokenSequence, { blockSize, windows }: ValWindowsOptions): Batch {
  const batch = emptyBatch(windows.length, blockSize);
  batch.targets.fill(-1);
  let targetCount = 0;
  for (const [row, window] of windows.entries()) {
    const start = window * blockSize;
    const length = Math.min(blockSize, val.length - 1 - start);
    if (!(window >= 0 && length >= 1)) throw new InvariantError(`there is no validation window ${window}`);
    const tokens = val.subarray(start, start + length + 1);
    batch.tokens.set(tokens.subarray(0, length), row * blockSize);
    batch.targets.set(tokens.subarray(1), row * blockSize);
    targetCount += length;
  }
  return { ...batch, targetCount };
}

/** How a split is walked over. */
export interface ValBatchesOptions {
  /** Tokens of a window. */
  readonly blockSize: number;
  /** Windows in a batch; the last batch may have fewer. */
  readonly batchSize: number;
  /** At most so many batches, their windows spread evenly over the split: an estimate. Absent: the whole split. */
  readonly batches?: number;
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
export function* valBatches(val: TokenSequence, options: ValBatchesOptions): Generator<Batch> {
  for (const windows of valBatchWindows(val.length, options)) {
    yield valWindows(val, { blockSize: options.blockSize, windows });
  }
}

function emptyBatch(batchSize: number, blockSize: number) {
  const size = batchSize * blockSize;
  return { tokens: new Int32Array(size), targets: new Int32Array(size), batchSize, blockSize };
}
