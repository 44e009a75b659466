/**
 * A batch: samples of equal shape, as named arrays. The data layer creates it, the protocol sends it, and an objective defines the meaning
 * of its arrays and learns from it.
 */
import { invariant } from './errors.ts';
import { sizeOf } from './shape.ts';

/** The number arrays of a batch. */
export type BatchNumbers = Int32Array | Float32Array;

/** One array of a batch, for all of its samples. */
export interface BatchArray<Numbers extends BatchNumbers = BatchNumbers> {
  /** The shape of one sample: `[T]` for a number at each of T positions, `[]` for a single number. */
  readonly shape: readonly number[];
  /** [sampleCount, ...shape], row-major. */
  readonly data: Numbers;
}

/** Samples that are computed together. */
export interface Batch {
  /** Number of samples. */
  readonly sampleCount: number;
  /** By name. */
  readonly arrays: Readonly<Record<string, BatchArray>>;
}

/** A batch and its weight in a mean, for example the number of unmasked targets. */
export interface WeighedBatch extends Batch {
  /** 0 if there is nothing to learn from it. */
  readonly weight: number;
}

/** The samples [from, from + count) of a batch, sharing its memory. */
export function samplesOf(batch: Batch, from: number, count: number): Batch {
  invariant(
    from >= 0 && count >= 0 && from + count <= batch.sampleCount,
    `a batch of ${batch.sampleCount} samples has no ${count} from sample ${from} on`,
  );
  const arrays = Object.entries(batch.arrays).map(([name, { shape, data }]): [string, BatchArray] => {
    const size = sizeOf(shape);
    return [name, { shape, data: data.subarray(from * size, (from + count) * size) }];
  });
  return { sampleCount: count, arrays: Object.fromEntries(arrays) };
}

/** Splits a batch into parts of at most `size` samples, with the index of the first sample of each. */
export function* microBatches(batch: Batch, size: number): Generator<{ readonly from: number; readonly batch: Batch }> {
  for (let from = 0; from < batch.sampleCount; from += size) {
    yield { from, batch: samplesOf(batch, from, Math.min(size, batch.sampleCount - from)) };
  }
}
