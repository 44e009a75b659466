/** How the validation samples of a run's periodic estimates are divided among the ranks, and into parts of bounded size. */
import type { Batch } from '../base/batch.ts';
import type { Config } from '../config/configTypes.ts';
import type { RunData, ValidationSamples } from '../data/runData.ts';
import { shareOf } from './core/batchSplit.ts';

export class ValidationPlan {
  readonly #samples: ValidationSamples;

  /** Number of a rank's samples per message: a multiple of the micro-batch, so that sums equal those of all samples at once. */
  readonly partSamples: number;

  /** @param partTokens approximate number of tokens that a rank evaluates at a time; an entire split may exceed a message's limit */
  constructor(data: RunData, config: Config, partTokens = 2 ** 15) {
    this.#samples = validationSamples(data, config);
    const { blockSize } = config.model;
    const batchSize = config.train.microBatchSize;
    this.partSamples = batchSize * Math.max(1, Math.floor(partTokens / (batchSize * blockSize)));
  }

  get sampleCount(): number {
    return this.#samples.count;
  }

  /** A part of one rank's samples, counted from 0; empty if the rank has fewer parts. */
  share(rank: number, worldSize: number, part: number): Batch {
    const { from, count } = shareOf(this.#samples.count, rank, worldSize);
    const start = Math.min(count, part * this.partSamples);
    return this.#samples.batch(from + start, Math.min(count - start, this.partSamples));
  }
}

/** The samples of the config's estimates. */
export function validationSamples(data: RunData, { model, train, eval: { batches } }: Config): ValidationSamples {
  return data.validation({ blockSize: model.blockSize, batchSize: train.microBatchSize, batches });
}
