/** The documents that share a sample, and where their positions count from. */
import { invariant } from '../base/errors.ts';
import type { Tensor } from './tensor.ts';

/** The documents that share a sample of T positions: packed, one after another. */
export interface Documents {
  /**
   * [B, T] int32: the first position of the document that each position belongs to. In a sample it never decreases, and is never
   * greater than the position. Absent: a sample is one document.
   */
  readonly starts?: Tensor;
}

/** In each sample of `time` positions, each position's document starts at it or before, and not before that of the previous position. */
export function expectStarts(kernel: string, starts: Int32Array, time: number): void {
  invariant(starts.length % time === 0, `${kernel}: expected starts of samples of ${time}, received ${starts.length}`);
  for (let i = 0, least = 0; i < starts.length; i++) {
    const [start, row] = [starts[i]!, i % time];
    if (row === 0) least = 0;
    invariant(
      start >= least && start <= row,
      `${kernel}: expected starts from ${least} to ${row} at row ${row}, received ${start}`,
    );
    least = start;
  }
}

/** For each row of the samples its position in its document, by the starts of documents. */
export function positionsOf(starts: Int32Array, time: number): Int32Array {
  return starts.map((start, i) => (i % time) - start);
}
