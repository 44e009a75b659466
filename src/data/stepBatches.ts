/** The global batches of the steps near the newest one. Each rank asks for its share, and a step may be repeated after a loss of workers. */
import type { WeighedBatch } from '../base/batch.ts';
import { UserError } from '../base/errors.ts';

/** Number of steps after the newest requested one for which data is kept. */
export const stepsAhead = 2;
/** Number of earlier steps kept, because a step may be requested again after the loss of a worker. */
const stepsBehind = 2;

export class StepBatches {
  readonly #samplesBefore: (step: number) => number;
  readonly #make: (step: number, samplesBefore: number) => WeighedBatch;
  readonly #batches = new Map<number, { batch: WeighedBatch; samplesBefore: number }>();

  /** @param make the batch of a step, which has a number of samples before it */
  constructor(samplesBefore: (step: number) => number, make: (step: number, samplesBefore: number) => WeighedBatch) {
    this.#samplesBefore = samplesBefore;
    this.#make = make;
  }

  /**
   * The global batch of a step, counted from 0.
   * @throws UserError if it has no target at all: its mean loss would be a division by 0
   */
  batch(step: number): WeighedBatch {
    const samplesBefore = this.#samplesBefore(step);
    const known = this.#batches.get(step);
    // A run that lost its state resumes from a step before the one where its batch size changed.
    if (known?.samplesBefore === samplesBefore) return known.batch;
    const batch = this.#make(step, samplesBefore);
    if (!(batch.weight > 0)) {
      throw new UserError(
        `step ${step + 1} has nothing to learn from: none of its ${batch.sampleCount} samples has a target; use data with ` +
          'more targets, or a larger train.globalBatchSize',
      );
    }
    this.#batches.set(step, { batch, samplesBefore });
    for (const other of this.#batches.keys()) if (!isNear(other, step)) this.#batches.delete(other);
    return batch;
  }

  /** The batch of a step, if it is kept; it is made again when it is requested again. */
  take(step: number): WeighedBatch | undefined {
    const batch = this.#batches.get(step)?.batch;
    this.#batches.delete(step);
    return batch;
  }
}

/** Whether a step is kept after another was requested. */
export function isNear(step: number, requested: number): boolean {
  return step >= requested - stepsBehind && step <= requested + stepsAhead;
}
