/** The data of a run on text or shards: windows of two sequences of tokens. */
import { setImmediate } from 'node:timers/promises';
import type { Batch } from '../base/batch.ts';
import type { TextSize } from '../task/textMeasures.ts';
import type { Dataset } from './dataset.ts';
import type { RunData, ValidationOptions, ValidationSamples } from './runData.ts';
import { taskOf, valBatchWindows, valWindows } from './sampler.ts';
import { targetBytes } from './textBytes.ts';
import type { TokenSequence } from './tokenArray.ts';
import { TrainBatches } from './trainBatches.ts';

/** Number of tokens at the beginning of the text that are decoded. */
const openingTokens = 16;

/** @param blockSize number of tokens in a window */
export function textRunData(dataset: Dataset, blockSize: number): RunData {
  const { tokenizer, vocabSize, description, normalised, sha256, train } = dataset;
  return {
    kind: 'text',
    tokenizer,
    vocabSize,
    objective: taskOf(dataset).objective,
    description,
    normalised,
    sha256,
    epochSamples: train.length / blockSize,
    sequencesPerSample: 1,
    sampleTokens: blockSize,
    get opening() {
      return tokenizer.decode(train.subarray(0, openingTokens));
    },
    training: ({ seed, globalBatchSize, sampler, samplesBefore }) =>
      new TrainBatches(dataset, { seed, globalBatchSize, sampler, blockSize, ...(samplesBefore && { samplesBefore }) }),
    stepLengths: () => () => blockSize,
    validation: (options) => new TextValidation(dataset, options),
  };
}

/** Number of tokens that are surely within two ranges of an object. */
const tokensInRange = 2 ** 20;

/** Returns when the tokens are on the disk. */
async function fetched(tokens: TokenSequence, from: number, to: number): Promise<void> {
  tokens.prefetch?.(from, to);
  for (let at = from; at < to; at += tokensInRange) await tokens.read?.(at, at + 1);
  await tokens.read?.(to - 1, to);
}

class TextValidation implements ValidationSamples {
  readonly #dataset: Dataset;
  readonly #blockSize: number;
  /** Indices of the chosen windows. */
  readonly #windows: readonly number[];

  constructor(dataset: Dataset, { blockSize, batchSize, batches }: ValidationOptions) {
    this.#dataset = dataset;
    this.#blockSize = blockSize;
    const some = batches === 0 ? {} : { batches };
    this.#windows = [...valBatchWindows(dataset.val.length, { blockSize, batchSize, ...some })].flat();
  }

  get count(): number {
    return this.#windows.length;
  }

  batch(from: number, count: number): Batch {
    const { val, task } = this.#dataset;
    const windows = this.#windows.slice(from, from + count);
    return valWindows(val, { blockSize: this.#blockSize, windows, task });
  }

  /** Neighbouring windows are decoded together, so that no character is cut. */
  async targetText(onProgress: (done: number) => void): Promise<TextSize> {
    const { tokenizer, val } = this.#dataset;
    let [bytes, targets] = [0, 0];
    for (const { from, to } of this.#ranges()) {
      if (val.prefetch !== undefined) await fetched(val, from, to);
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
}
