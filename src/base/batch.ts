/**
 * A batch: samples of equal shape, as named arrays. The data layer makes it, the wire carries it, an objective learns from it; what its
 * arrays mean is the objective's to say.
 */
import { invariant } from './errors.ts';
import { sizeOf } from './shape.ts';

/** Numbers of a batch. */
export type BatchNumbers = Int32Array | Float32Array;

/** One array of a batch, for all of its samples. */
export interface BatchArray<Numbers extends BatchNumbers = BatchNumbers> {
  /** Of one sample: `[T]` where it has a number at each of T positions, `[]` where it has one. */
  readonly shape: readonly number[];
  /** [sampleCount, ...shape], row-major. */
  readonly data: Numbers;
}

/** Samples that are computed together. */
export interface Batch {
  /** How many. */
  readonly sampleCount: number;
  /** By name. */
  readonly arrays: Readonly<Record<string, BatchArray>>;
}

/** A batch, and what its samples count together in a mean: the number of targets that are not masked, say. */
export interface WeighedBatch extends Batch {
  /** 0 if there is nothing to learn from it. */
  readonly weight: number;
}

/** The samples [from, from + count) of a batch: the same memory. */
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

/** A batch in parts of at most `size` samples, with the index of the first of each. */
export function* microBatches(batch: Batch, size: number): Generator<{ readonly from: number; readonly batch: Batch }> {
  for (let from = 0; from < batch.sampleCount; from += size) {
    yield { from, batch: samplesOf(batch, from, Math.min(size, batch.sampleCount - from)) };
  }
}
