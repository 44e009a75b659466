/**
 * The validation windows of a run's periodic estimates: always the same ones, spread evenly over the validation split or all of
 * it, so that two estimates can be compared whatever the number of workers.
 */
import type { Batch } from '../comm/protocol.ts';
import type { Config } from '../config/schema.ts';
import type { Dataset } from '../data/dataset.ts';
import { valBatchWindows, valWindows } from '../data/sampler.ts';
import { shareOf } from './leases.ts';

export class ValidationPlan {
  readonly #dataset: Dataset;
  readonly #blockSize: number;
  /** Indices of the chosen windows. */
  readonly #windows: readonly number[];

  constructor(dataset: Dataset, config: Config) {
    this.#dataset = dataset;
    this.#blockSize = config.model.blockSize;
    const { batches } = config.eval;
    const batchSize = config.train.microBatchSize;
    const some = batches === 0 ? {} : { batches };
    this.#windows = [...valBatchWindows(dataset.val.length, { blockSize: this.#blockSize, batchSize, ...some })].flat();
  }

  /** The windows of one rank. */
  share(rank: number, worldSize: number): { sampleCount: number; batch: Batch } {
    const { from, count } = shareOf(this.#windows.length, rank, worldSize);
    const windows = this.#windows.slice(from, from + count);
    return { sampleCount: count, batch: valWindows(this.#dataset.val, { blockSize: this.#blockSize, windows }) };
  }
}
