/**
 * The training batches of a run: each step's global batch and its weight. Ranks get slices of the batch, and every loss is divided by
 * the weight of the entire batch. For tokens on disk, the next steps' windows are read during the current step, so that a batch is
 * ready when it is requested; windows that are not ready yet are read at once.
 */
import type { WeighedBatch } from '../base/batch.ts';
import { UserError } from '../base/errors.ts';
import { type SampleOptions, sampleStart } from './sampleOrder.ts';
import { type TrainingSplit, trainBatch } from './sampler.ts';
import type { TokenArray } from './tokenArray.ts';

/** Number of steps read ahead of the newest requested one. */
const stepsAhead = 2;
/** Number of earlier steps kept, because a step may be requested again after the loss of a worker. */
const stepsBehind = 2;

export interface BatchOptions extends Omit<SampleOptions, 'step' | 'index' | 'samplesBefore'> {
  /** Number of samples in all steps before the given one. Default: all steps have the same size. */
  readonly samplesBefore?: (step: number) => number;
}

export class TrainBatches {
  readonly #split: TrainingSplit;
  readonly #options: BatchOptions;
  /** The most recently requested batches: each rank requests its share. */
  readonly #batches = new Map<number, { batch: WeighedBatch; samplesBefore: number }>();
  /** The windows read so far for each step, by their first token. */
  readonly #windows = new Map<number, Map<number, TokenArray>>();

  constructor(split: TrainingSplit, options: BatchOptions) {
    this.#split = split;
    this.#options = options;
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
    const batch = this.#encode(step);
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

  #samplesBefore(step: number): number {
    const { samplesBefore, globalBatchSize } = this.#options;
    return samplesBefore?.(step) ?? step * globalBatchSize;
  }

  /** The starts of a step's samples. */
  #placeOf(step: number): Omit<SampleOptions, 'index'> {
    return { ...this.#options, step, samplesBefore: this.#samplesBefore(step) };
  }

  #encode(step: number): WeighedBatch {
    const { train } = this.#split;
    const place = { ...this.#placeOf(step), from: 0, count: this.#options.globalBatchSize };
    if (train.read === undefined) return trainBatch(this.#split, place);
    const windows = this.#windows.get(step);
    const cached = {
      length: train.length,
      subarray: (from: number, to: number) => windows?.get(from) ?? train.subarray(from, to),
    };
    const batch = trainBatch({ ...this.#split, train: cached }, place);
    this.#readAhead(step);
    return batch;
  }

  #readAhead(step: number): void {
    for (const known of this.#windows.keys()) if (!isNear(known, step)) this.#windows.delete(known);
    for (let next = step + 1; next <= step + stepsAhead; next++) {
      if (this.#windows.has(next)) continue;
      const windows = new Map<number, TokenArray>();
      this.#windows.set(next, windows);
      for (let index = 0; index < this.#options.globalBatchSize; index++) this.#read(windows, next, index);
    }
  }

  #read(windows: Map<number, TokenArray>, step: number, index: number): void {
    const { train, corpora } = this.#split;
    const start = sampleStart(corpora, { ...this.#placeOf(step), index });
    // A failed read is repeated when the window is needed, and reported then.
    train.read?.(start, start + this.#options.blockSize + 1).then(
      (window) => windows.set(start, window),
      () => undefined,
    );
  }
}

/** Whether a step is kept after another was requested. */
function isNear(step: number, asked: number): boolean {
  return step >= asked - stepsBehind && step <= asked + stepsAhead;
}
