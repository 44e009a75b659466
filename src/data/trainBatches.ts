/**
 * The training batches of a text. For tokens on disk, the next steps' windows are read during the current step, so that a batch is
 * ready when it is requested; windows that are not ready yet are read at once. Windows in an object store are fetched to the disk many steps
 * ahead.
 */
import type { WeighedBatch } from '../base/batch.ts';
import { WindowBatch, type WindowNumbers } from '../base/windowBatch.ts';
import type { TrainingSamples } from './runData.ts';
import { type SampleOptions, sampleStart } from './sampleOrder.ts';
import { type TrainingSplit, trainBatchIn } from './sampler.ts';
import { isNear, StepBatches, stepsAhead } from './stepBatches.ts';
import type { TokenArray } from './tokenArray.ts';

/** Number of steps whose windows are fetched from an object store before they are needed. */
const stepsFetchedAhead = 64;
/** Arrays that are kept for later batches. */
const spareMost = 2;

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
  /** Arrays of released batches. Without them, the windows of every step of many workers would be garbage. */
  readonly #spare: WindowNumbers[] = [];
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

  release(step: number): void {
    const batch = this.#batches.take(step);
    if (batch instanceof WindowBatch && this.#spare.length < spareMost) this.#spare.push(batch.windows.numbers);
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
    const spare = this.#spare.pop();
    if (train.read === undefined) return trainBatchIn(this.#split, place, spare);
    const windows = this.#windows.get(step);
    const cached = {
      length: train.length,
      subarray: (from: number, to: number) => windows?.get(from) ?? train.subarray(from, to),
    };
    const batch = trainBatchIn({ ...this.#split, train: cached }, place, spare);
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
