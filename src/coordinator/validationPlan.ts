/**
 * The validation windows of a run's periodic estimates: always the same ones, spread evenly over the validation split or all of
 * it, so that two estimates can be compared whatever the number of workers.
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

  /** Windows of a rank in one message: whole micro-batches, so that sums are the same as of all at once. */
  readonly partWindows: number;

  /** @param partTokens about how many tokens a rank is to evaluate at a time; a whole split may be more than a message may hold */
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
   * The text that all targets stand for, those of neighbouring windows in one go, so that no character is cut.
   * @param onProgress called now and then with the share that is done, from 0 to 1
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

  /** The tokens of windows that follow each other, with the one before the first target. */
  *#ranges(): Generator<{ from: number; to: number }, void> {
    const end = (window: number) => Math.min(this.#dataset.val.length, (window + 1) * this.#blockSize + 1);
    for (let first = 0; first < this.#windows.length; ) {
      let last = first;
      while (this.#windows[last + 1] === this.#windows[last]! + 1) last++;
      yield { from: this.#windows[first]! * this.#blockSize, to: end(this.#windows[last]!) };
      first = last + 1;
    }
  }

  /** A part of the windows of one rank, counted from 0; empty where it has fewer parts. */
  share(rank: number, worldSize: number, part: number): Batch {
    const { from, count } = shareOf(this.#windows.length, rank, worldSize);
    const start = part * this.partWindows;
    const windows = this.#windows.slice(from + start, from + Math.min(count, start + this.partWindows));
    const { val, task } = this.#dataset;
    return valWindows(val, { blockSize: this.#blockSize, windows, task });
  }
}
