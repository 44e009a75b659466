/**
 * Which tokens a step trains on: pure functions of (seed, step, index in the global batch). Whoever computes a sample, on however
 * many workers and after however many resumes, gets the same one; nothing is stored and nothing is consumed.
 *
 * Training draws windows at random with replacement, as nanoGPT does; validation walks over the split without gap or overlap.
 * Why not a shuffled epoch: docs/decisions/sampler.md.
 */
import { randomBits, randomKey } from '../base/counterRandom.ts';
import { InvariantError } from '../base/errors.ts';
import type { TokenArray } from './tokenArray.ts';

/** Keeps this stream apart from others that start from the same seed. */
const samplerStream = 0x73616d70;

/** Row-major [batchSize, blockSize]. `targets` are the next tokens; -1 marks a position that does not count. */
export interface Batch {
  readonly tokens: Int32Array;
  readonly targets: Int32Array;
  readonly batchSize: number;
  readonly blockSize: number;
  /** Positions that count: batchSize · blockSize but for a padded last window. */
  readonly targetCount: number;
}

export interface WindowStartOptions {
  readonly seed: number;
  /** From 0. */
  readonly step: number;
  /** The sample's index in the global batch of the step. */
  readonly index: number;
  /** How many tokens there are; up to 2^52. */
  readonly tokens: number;
  readonly blockSize: number;
}

/** Where the sample's window starts: uniform over all starts that leave a target for every position. */
export function windowStart({ seed, step, index, tokens, blockSize }: WindowStartOptions): number {
  const starts = tokens - blockSize;
  if (starts < 1) throw new InvariantError(`${tokens} tokens hold no window of ${blockSize} and its targets`);
  const key = randomKey(seed, samplerStream, step);
  // 53 random bits: one start in 2^53/starts is favoured by one part in as many, 2^-21 even at 2^32 tokens.
  const high = randomBits(key, 2 * index);
  const low = randomBits(key, 2 * index + 1) >>> 11;
  return Math.floor((high * 2 ** 21 + low) * 2 ** -53 * starts);
}

export interface TrainBatchOptions {
  readonly seed: number;
  readonly step: number;
  /** First sample, as an index in the global batch. */
  readonly from: number;
  readonly count: number;
  readonly blockSize: number;
}

/** Samples `from` to `from + count - 1` of a step's global batch. */
export function trainBatch(
  { train }: { readonly train: TokenArray },
  { seed, step, from, count, blockSize }: TrainBatchOptions,
): Batch {
  const batch = emptyBatch(count, blockSize);
  for (let row = 0; row < count; row++) {
    const start = windowStart({ seed, step, index: from + row, tokens: train.length, blockSize });
    batch.tokens.set(train.subarray(start, start + blockSize), row * blockSize);
    batch.targets.set(train.subarray(start + 1, start + 1 + blockSize), row * blockSize);
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
export function valWindows(val: TokenArray, { blockSize, windows }: ValWindowsOptions): Batch {
  const batch = emptyBatch(windows.length, blockSize);
  batch.targets.fill(-1);
  let targetCount = 0;
  for (const [row, window] of windows.entries()) {
    const start = window * blockSize;
    const length = Math.min(blockSize, val.length - 1 - start);
    if (!(window >= 0 && length >= 1)) throw new InvariantError(`there is no validation window ${window}`);
    batch.tokens.set(val.subarray(start, start + length), row * blockSize);
    batch.targets.set(val.subarray(start + 1, start + 1 + length), row * blockSize);
    targetCount += length;
  }
  return { ...batch, targetCount };
}

export interface ValBatchesOptions {
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
export function* valBatches(val: TokenArray, options: ValBatchesOptions): Generator<Batch> {
  for (const windows of valBatchWindows(val.length, options)) {
    yield valWindows(val, { blockSize: options.blockSize, windows });
  }
}

function emptyBatch(batchSize: number, blockSize: number) {
  const size = batchSize * blockSize;
  return { tokens: new Int32Array(size), targets: new Int32Array(size), batchSize, blockSize };
}
