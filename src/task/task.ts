/**
 * A task: what a row of the data is, and what is to be learned from it. Pure: no engine, no sockets, no files. How a batch of its
 * samples becomes gradients is an objective's (model/objectives); which rows make a batch is the data layer's.
 */
import type { Batch, BatchArray, BatchNumbers } from '../base/batch.ts';
import { invariant } from '../base/errors.ts';
import { sizeOf } from '../base/shape.ts';
import type { FieldType } from './fields.ts';

/** One array of the samples that a task makes: along one axis, since rows are of different lengths. */
export interface SampleField {
  /** The type of its numbers. */
  readonly dtype: FieldType;
  /** What stands after the end of a sample that is shorter than others of its batch. */
  readonly padding: number;
}

/** One sample, not padded. */
export type Sample = Readonly<Record<string, ArrayLike<number>>>;

/** @typeParam Row what the data has; @typeParam Example what a row that is right says */
export interface Task<Row, Example = Row> {
  /** What it is called. */
  readonly name: string;
  /** What the objective is called that learns from its samples. */
  readonly objective: string;
  /** The arrays of a sample. */
  readonly fields: Readonly<Record<string, SampleField>>;
  /** @param at names the row in messages. @throws UserError for a row that is none: what was expected, what came, and where */
  readonly parse: (row: Row, at: string) => Example;
  /** The arrays of the sample that an example becomes. */
  readonly encode: (example: Example) => Sample;
  /** What the samples of a batch count together in a mean: the number of their targets, or the sum of their weights. */
  readonly weight: (batch: Batch) => number;
}

/** A batch of samples, each padded to `length`. */
export function collate(fields: Task<never>['fields'], samples: readonly Sample[], length: number): Batch {
  const arrays = Object.entries(fields).map(([name, { dtype, padding }]): [string, BatchArray] => {
    const size = samples.length * sizeOf([length]);
    const data: BatchNumbers = dtype === 'int32' ? new Int32Array(size) : new Float32Array(size);
    if (padding !== 0) data.fill(padding);
    for (const [row, sample] of samples.entries()) {
      const values = sample[name];
      invariant(
        values !== undefined && values.length <= length,
        `a sample has no ${name} of at most ${length} numbers`,
      );
      data.set(values, row * length);
    }
    return [name, { shape: [length], data }];
  });
  return { sampleCount: samples.length, arrays: Object.fromEntries(arrays) };
}
