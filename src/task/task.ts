/**
 * A task defines a row of the data and what the model learns from it. It is pure: no engine, no sockets, no files. An objective
 * (model/objectives) turns a batch of its samples into gradients; the data layer chooses the rows of a batch.
 */
import type { Batch, BatchArray, BatchNumbers } from '../base/batch.ts';
import { invariant } from '../base/errors.ts';
import { sizeOf } from '../base/shape.ts';
import type { FieldType } from './fields.ts';

/** One array of a task's samples, with one axis. */
export interface SampleField {
  /** The type of its numbers. */
  readonly dtype: FieldType;
  /** The padding after the end of a sample that is shorter than others of its batch: a number, or the position of each padded number. */
  readonly padding: number | 'position';
  /** The length of every sample. Absent: rows have different lengths, and are padded to that of the batch. */
  readonly length?: number | undefined;
  /** Arrays with the same axis are padded to one length. Default `T`. */
  readonly axis?: string | undefined;
}

/** One sample, not padded. */
export type Sample = Readonly<Record<string, ArrayLike<number>>>;

/** @typeParam Row a row of the data; @typeParam Example the contents of a valid row */
export interface Task<Row, Example = Row> {
  /** Its name. */
  readonly name: string;
  /** The name of the objective that learns from its samples. */
  readonly objective: string;
  /** The arrays of a sample. */
  readonly fields: Readonly<Record<string, SampleField>>;
  /** @param at names the row in messages. @throws UserError for an invalid row */
  readonly parse: (row: Row, at: string) => Example;
  /** The arrays of an example's sample. */
  readonly encode: (example: Example) => Sample;
  /**
   * The sample of an example that is too long, without tokens of its prompt, so that no array has more than `tokens` numbers. Undefined if
   * that is impossible without losing the answer. A task without this cannot shorten.
   */
  readonly shorten?: (example: Example, tokens: number) => Sample | undefined;
  /** Whether a sample has two equal answers, so that it prefers neither. A task without this has no pairs. */
  readonly hasEqualAnswers?: (sample: Sample) => boolean;
  /** The weight of a batch in a mean: the number of its targets, or the sum of their weights. */
  readonly weight: (batch: Batch) => number;
}

/** Lengths of batches are multiples of it: batches then have few shapes, and buffers are used again. */
const lengthUnit = 32;

/** The length to which samples are padded whose longest has `longest` positions. */
export function paddedTo(longest: number, blockSize: number): number {
  return Math.min(blockSize, Math.ceil(longest / lengthUnit) * lengthUnit);
}

/** The padded length of each axis, by its name. */
export type PaddedLengths = Readonly<Record<string, number>>;

/** The length to which each axis of these samples is padded; each is a function of all of them. */
export function paddedLengths(
  fields: Task<never>['fields'],
  samples: readonly Sample[],
  blockSize: number,
): PaddedLengths {
  return mapped(longestOf(fields, samples), (longest) => paddedTo(longest, blockSize));
}

/** The length of the longest array along each axis, at least 1; without arrays that have the same length in all samples. */
export function longestOf(fields: Task<never>['fields'], samples: readonly Sample[]): PaddedLengths {
  const lengths: Record<string, number> = {};
  for (const [name, field] of Object.entries(fields)) {
    if (field.length !== undefined) continue;
    const axis = axisOf(field);
    const longest = samples.reduce((length, sample) => Math.max(length, sample[name]?.length ?? 0), 1);
    lengths[axis] = Math.max(lengths[axis] ?? 1, longest);
  }
  return lengths;
}

function mapped(lengths: PaddedLengths, to: (length: number) => number): PaddedLengths {
  return Object.fromEntries(Object.entries(lengths).map(([axis, length]) => [axis, to(length)]));
}

function axisOf({ axis = 'T' }: SampleField): string {
  return axis;
}

/**
 * A batch of samples, each padded to `length`, except the arrays whose field has a length of its own.
 * @param length of all axes, or of each
 */
export function collate(
  fields: Task<never>['fields'],
  samples: readonly Sample[],
  length: number | PaddedLengths,
): Batch {
  const arrays = Object.entries(fields).map(([name, field]): [string, BatchArray] => {
    const padded = typeof length === 'number' ? length : length[axisOf(field)];
    const shape = [field.length ?? padded ?? 0];
    const row = sizeOf(shape);
    const size = samples.length * row;
    const data: BatchNumbers = field.dtype === 'int32' ? new Int32Array(size) : new Float32Array(size);
    if (field.padding === 'position') data.set(data.map((_, i) => i % row));
    else if (field.padding !== 0) data.fill(field.padding);
    for (const [index, sample] of samples.entries()) {
      const values = sample[name];
      invariant(values !== undefined && values.length <= row, `a sample has no ${name} of at most ${row} numbers`);
      data.set(values, index * row);
    }
    return [name, { shape, data }];
  });
  return { sampleCount: samples.length, arrays: Object.fromEntries(arrays) };
}
