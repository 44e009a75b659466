/**
 * The training batches of a run. Where tokens lie on a disk, those of the next steps are read while the present one is computed, so
 * that a batch is there when it is asked for; a window that is not there yet is read at once.
 */
import { type SampleOptions, sampleStart } from './sampleOrder.ts';
import { type Batch, type TrainBatchOptions, type TrainingSplit, trainBatch } from './sampler.ts';
import type { TokenArray } from './tokenArray.ts';

/** Steps that are read ahead of the newest that was asked for. */
const stepsAhead = 2;
/** Steps that are kept behind it: a step may be asked for again, when a worker was lost. */
const stepsBehind = 2;

export type BatchOptions = Omit<SampleOptions, 'step' | 'index'>;

export class TrainBatches {
  readonly #split: TrainingSplit;
  readonly #options: BatchOptions;
  /** Of each step, the windows that have been read, by their first token. */
  readonly #windows = new Map<number, Map<number, TokenArray>>();

  constructor(split: TrainingSplit, options: BatchOptions) {
    this.#split = split;
    this.#options = options;
  }

  /** Samples `from` to `from + count - 1` of a step's global batch. */
  batch(place: Pick<TrainBatchOptions, 'step' | 'from' | 'count'>): Batch {
    const { train, corpora } = this.#split;
    if (train.read === undefined) return trainBatch(this.#split, { ...this.#options, ...place });
    const windows = this.#windows.get(place.step);
    const cached = {
      length: train.length,
      subarray: (from: number, to: number) => windows?.get(from) ?? train.subarray(from, to),
    };
    const batch = trainBatch({ train: cached, corpora }, { ...this.#options, ...place });
    this.#readAhead(place.step);
    return batch;
  }

  #readAhead(step: number): void {
    for (const known of this.#windows.keys()) {
      if (known < step - stepsBehind || known > step + stepsAhead) this.#windows.delete(known);
    }
    for (let next = step + 1; next <= step + stepsAhead; next++) {
      if (this.#windows.has(next)) continue;
      const windows = new Map<number, TokenArray>();
      this.#windows.set(next, windows);
      for (let index = 0; index < this.#options.globalBatchSize; index++) this.#read(windows, next, index);
    }
  }

  #read(windows: Map<number, TokenArray>, step: number, index: number): void {
    const { train, corpora } = this.#split;
    const start = sampleStart(corpora, { ...this.#options, step, index });
    // What fails is read again when it is needed, and reported then.
    train.read?.(start, start + this.#options.blockSize + 1).then(
      (window) => windows.set(start, window),
      () => undefined,
    );
  }
}
