/**
 * The training batches of a text. For tokens on disk, the next steps' windows are read during the current step, so that a batch is
 * ready when it is requested; windows that are not ready yet are read at once. Windows in an object store are fetched to the disk many steps
 * ahead.
 */
import type { WeighedBatch } from '../base/batch.ts';
import type { TrainingSamples } from './runData.ts';
import { type SampleOptions, sampleStart } from './sampleOrder.ts';
import { type TrainingSplit, trainBatch } from './sampler.ts';
import { isNear, StepBatches, stepsAhead } from './stepBatches.ts';
import type { TokenArray } from './tokenArray.ts';

/** Number of steps whose windows are fetched from an object store before they are needed. */
const stepsFetchedAhead = 64;

export interface BatchOptions extends Omit<SampleOptions, 'step' | 'index' | 'samplesBefore'> {
  /** Number of samples in all steps before the given one. Default: all steps have the same size. */
  readonly samplesBefore?: (step: number) => number;
}

export class TrainBatches implements TrainingSamples {
  readonly sampleLimit = Number.POSITIVE_INFINITY;
  readonly #split: TrainingSplit;
  readonly #options: BatchOptions;
  readonly #batches: StepBatches;
  /** The windows read so far for each step, by their first token. */
  readonly #windows = new Map<number, Map<number, TokenArray>>();
  /** The steps [from, to) whose windows are on their way to the disk, or there. */
  #fetched = { from: 0, to: 0 };

  constructor(split: TrainingSplit, options: BatchOptions) {
    this.#split = split;
    this.#options = options;
    this.#batches = new StepBatches(
      (step) => this.#samplesBefore(step),
      (step) => this.#encode(step),
    );
  }

  tokensIn(samples: number): number {
    return samples * this.#options.blockSize;
  }

  expect(step: number): void {
    const { train, corpora } = this.#split;
    if (train.prefetch === undefined) return;
    const { globalBatchSize, blockSize } = this.#options;
    const end = step + stepsFetchedAhead;
    const isNear = step >= this.#fetched.from && step <= this.#fetched.to;
    for (let next = isNear ? this.#fetched.to : step; next < end; next++) {
      for (let index = 0; index < globalBatchSize; index++) {
        const start = sampleStart(corpora, { ...this.#placeOf(next), index });
        train.prefetch(start, start + blockSize + 1);
      }
    }
    this.#fetched = { from: step, to: Math.max(end, isNear ? this.#fetched.to : end) };
  }

  batch(step: number): WeighedBatch {
    this.expect(step);
    return this.#batches.batch(step);
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
