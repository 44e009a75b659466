/**
 * The training samples of a run that writes its own: each step of an iteration learns from rows of the iteration's rollouts. Every row is
 * in one step of each pass over them, in an order that is a pure function of seed, iteration and pass.
 */
import type { WeighedBatch } from '../../base/batch.ts';
import { randomKey } from '../../base/counterRandom.ts';
import { permutation } from '../../data/permutation.ts';
import type { TrainingSamples } from '../../data/runData.ts';
import { StepBatches } from '../../data/stepBatches.ts';
import { collate, paddedTo, type Sample, type Task } from '../../task/task.ts';

/** Separates this random stream from others with the same seed. */
const orderStream = 0x726f6c6f;

export interface RolloutSampleOptions {
  readonly seed: number;
  readonly globalBatchSize: number;
  readonly blockSize: number;
  /** Number of rows of an iteration: a multiple of `globalBatchSize`. */
  readonly rows: number;
  /** Number of passes over them. */
  readonly inner: number;
  /** Number of iterations after which the samples end; infinite if they never do. */
  readonly iterations: number;
  /** The arrays of a sample. */
  readonly fields: Task<never>['fields'];
  /** The weight of a batch in a mean. */
  readonly weight: Task<never>['weight'];
  /** The rows of an iteration, counted from 1. */
  readonly load: (iteration: number) => readonly Sample[];
}

export class RolloutSamples implements TrainingSamples {
  readonly sampleLimit: number;
  readonly #options: RolloutSampleOptions;
  #batches: StepBatches;
  /** The rows of the newest iterations. */
  readonly #rows = new Map<number, readonly Sample[]>();
  /** The number of tokens of all iterations before one, where it is known. */
  readonly #tokensBefore = new Map<number, number>([[1, 0]]);

  constructor(options: RolloutSampleOptions) {
    this.#options = options;
    this.sampleLimit = options.iterations * options.rows * options.inner;
    this.#batches = this.#newBatches();
  }

  batch(step: number): WeighedBatch {
    return this.#batches.batch(step);
  }

  /** The rows of these iterations and of later ones are written again, or others are. */
  forget(iteration: number): void {
    for (const known of this.#rows.keys()) if (known >= iteration) this.#rows.delete(known);
    for (const known of this.#tokensBefore.keys()) if (known > iteration) this.#tokensBefore.delete(known);
    this.#batches = this.#newBatches();
  }

  /** The rows of an iteration that has just been written. */
  add(iteration: number, rows: readonly Sample[]): void {
    this.#countBefore(iteration);
    this.forget(iteration);
    for (const known of this.#rows.keys()) if (known < iteration - 1) this.#rows.delete(known);
    this.#rows.set(iteration, rows);
  }

  /** The progress of a run that resumes: its first `samples` samples had this number of tokens. */
  resumeAt(samples: number, tokens: number): void {
    const { iteration, place } = this.#placeOf(samples);
    this.#tokensBefore.set(iteration, place === 0 ? tokens : tokens - this.#tokensIn(iteration, place));
  }

  /** Samples of iterations that do not exist yet have none. */
  tokensIn(samples: number): number {
    const { iteration, place } = this.#placeOf(samples);
    return this.#countBefore(iteration) + (place === 0 ? 0 : this.#tokensIn(iteration, place));
  }

  #countBefore(iteration: number): number {
    const { rows, inner } = this.#options;
    const previous = iteration - 1;
    const known = this.#tokensBefore.get(iteration);
    if (known !== undefined || !this.#rows.has(previous)) return known ?? 0;
    const count = this.#countBefore(previous) + this.#tokensIn(previous, rows * inner);
    this.#tokensBefore.set(iteration, count);
    return count;
  }

  /** Number of tokens of the first samples of an iteration. */
  #tokensIn(iteration: number, samples: number): number {
    const { rows } = this.#options;
    const lengths = this.#load(iteration).map((sample) => sample['tokens']!.length);
    const passes = Math.floor(samples / rows);
    const rest = Array.from({ length: samples % rows }, (_, i) => lengths[this.#rowAt(iteration, passes * rows + i)]!);
    return passes * sum(lengths) + sum(rest);
  }

  #placeOf(samples: number): { iteration: number; place: number } {
    const perIteration = this.#options.rows * this.#options.inner;
    return { iteration: Math.floor(samples / perIteration) + 1, place: samples % perIteration };
  }

  #newBatches(): StepBatches {
    const { globalBatchSize } = this.#options;
    return new StepBatches(
      (step) => step * globalBatchSize,
      (_, before) => this.#make(before),
    );
  }

  #make(before: number): WeighedBatch {
    const { globalBatchSize, fields, weight, blockSize } = this.#options;
    const { iteration, place } = this.#placeOf(before);
    const samples = this.#load(iteration);
    const chosen = Array.from({ length: globalBatchSize }, (_, i) => samples[this.#rowAt(iteration, place + i)]!);
    const longest = chosen.reduce((length, sample) => Math.max(length, sample['tokens']!.length), 1);
    const batch = collate(fields, chosen, paddedTo(longest, blockSize));
    return { ...batch, weight: weight(batch) };
  }

  /** The row at a place of an iteration, counted from 0 over all its passes. */
  #rowAt(iteration: number, place: number): number {
    const { seed, rows } = this.#options;
    return permutation(rows, randomKey(seed, orderStream, iteration, Math.floor(place / rows))).at(place % rows);
  }

  #load(iteration: number): readonly Sample[] {
    const known = this.#rows.get(iteration) ?? this.#options.load(iteration);
    this.#rows.set(iteration, known);
    return known;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
