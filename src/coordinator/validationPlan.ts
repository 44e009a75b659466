/**
 * The validation windows of a run's periodic estimates: always the same, spread evenly over the validation split or covering it,
 * so estimates are comparable for any number of workers.
 */
import { setImmediate } from 'node:timers/promises';
import type { Batch } from '../base/batch.ts';
import type { Config } from '../config/configTypes.ts';
import type { Dataset } from '../data/dataset.ts';
import { valBatchWindows, valWindows } from '../data/sampler.ts';
import { targetBytes } from '../data/textBytes.ts';
import type { TextSize } from '../task/textMeasures.ts';
import { shareOf } from './core/batchSplit.ts';

export class ValidationPlan {
  readonly #dataset: Dataset;
  readonly #blockSize: number;
  /** Indices of the chosen windows. */
  readonly #windows: readonly number[];

  /** Number of a rank's windows per message: a multiple of the micro-batch, so that sums equal those of all windows at once. */
  readonly partWindows: number;

  /** @param partTokens approximate number of tokens that a rank evaluates at a time; an entire split may exceed a message's limit */
  constructor(dataset: Dataset, config: Config, partTokens = 2 ** 15) {
    this.#dataset = dataset;
    this.#blockSize = config.model.blockSize;
    const { batches } = config.eval;
    const batchSize = config.train.microBatchSize;
    const some = batches === 0 ? {} : { batches };
    this.#windows = [...valBatchWindows(dataset.val.length, { blockSize: this.#blockSize, batchSize, ...some })].flat();
    this.partWindows = batchSize * Math.max(1, Math.floor(partTokens / (batchSize * this.#blockSize)));
  }

  get windowCount(): number {
    return this.#windows.length;
  }

  /**
   * The text of all targets. Neighbouring windows are decoded together, so that no character is cut.
   * @param onProgress called from time to time with the fraction done, from 0 to 1
   */
  async targetText(onProgress: (done: number) => void): Promise<TextSize> {
    const { tokenizer, val } = this.#dataset;
    let [bytes, targets] = [0, 0];
    for (const { from, to } of this.#ranges()) {
      const steps = targetBytes(tokenizer, val, from, to);
      for (let step = steps.next(); ; step = steps.next()) {
        if (step.done) {
          bytes += step.value;
          break;
        }
        targets += step.value;
        onProgress(targets / (this.#windows.length * this.#blockSize));
        await setImmediate();
      }
    }
    return { bytes, targets };
  }

  /** The tokens of consecutive windows, with the one before the first target. */
  *#ranges(): Generator<{ from: number; to: number }, void> {
    const end = (window: number) => Math.min(this.#dataset.val.length, (window + 1) * this.#blockSize + 1);
    for (let first = 0; first < this.#windows.length; ) {
      let last = first;
      while (this.#windows[last + 1] === this.#windows[last]! + 1) last++;
      yield { from: this.#windows[first]! * this.#blockSize, to: end(this.#windows[last]!) };
      first = last + 1;
    }
  }

  /** A part of one rank's windows, counted from 0; empty if the rank has fewer parts. */
  share(rank: number, worldSize: number, part: number): Batch {
    const { from, count } = shareOf(this.#windows.length, rank, worldSize);
    const start = part * this.partWindows;
    const windows = this.#windows.slice(from + start, from + Math.min(count, start + this.partWindows));
    const { val, task } = this.#dataset;
    return valWindows(val, { blockSize: this.#blockSize, windows, task });
  }
}
