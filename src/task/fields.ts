/**
 * The rules for the arrays of a sample. An objective declares them once, and each batch from outside is checked against them. The rules
 * also define the padding of shorter samples.
 */
import type { Batch, BatchArray, BatchNumbers } from '../base/batch.ts';
import { PeerError } from '../base/errors.ts';
import { sizeOf } from '../base/shape.ts';

/** The number types of samples. */
export type FieldType = 'int32' | 'float32';

/** One array of a sample. */
export interface FieldRule {
  /** The type of its numbers. */
  readonly dtype: FieldType;
  /** Outermost first. */
  readonly axes: readonly FieldAxis[];
  /** The smallest allowed number. */
  readonly min: number;
  /** The largest allowed number. */
  readonly max: number;
  /**
   * A further rule for the numbers of one sample: what is wrong with them, or undefined if they are legal.
   * @param lengths of the axes of this array and of those before it, by name
   */
  readonly problem?: (numbers: BatchNumbers, lengths: Readonly<Record<string, number>>) => string | undefined;
}

/** One axis of an array. Axes with the same name have the same length in all arrays of a batch. */
export interface FieldAxis {
  /** For example, `T`. */
  readonly name: string;
  /** The minimum length. Default 0. */
  readonly min?: number;
  /** The maximum length. */
  readonly max: number;
}

/** The arrays of a sample, by name; no others are allowed. */
export type FieldRules = Readonly<Record<string, FieldRule>>;

/** @throws PeerError if the batch has other arrays, other shapes, or a number that a rule forbids */
export function checkBatch(batch: Batch, rules: FieldRules): void {
  const [names, expected] = [Object.keys(batch.arrays).sort(), Object.keys(rules).sort()];
  if (names.join() !== expected.join()) {
    throw new PeerError(`expected samples of ${expected.join(', ')}, received ${names.join(', ') || 'nothing'}`);
  }
  const lengths = new Map<string, number>();
  for (const [name, rule] of Object.entries(rules)) {
    const array = batch.arrays[name]!;
    checkShape(name, array, rule, lengths);
    if (array.data.length !== batch.sampleCount * sizeOf(array.shape)) {
      throw new PeerError(`${name}: expected ${batch.sampleCount} samples, received ${array.data.length} numbers`);
    }
    const { min, max, problem } = rule;
    // Not (a number is outside): NaN is neither below nor above.
    const wrong = array.data.find((value) => !(value >= min && value <= max));
    if (wrong !== undefined) throw new PeerError(`${name}: expected numbers from ${min} to ${max}, received ${wrong}`);
    if (problem === undefined) continue;
    const known = Object.fromEntries(lengths);
    checkSamples(name, array, batch.sampleCount, (numbers) => problem(numbers, known));
  }
}

function checkSamples(
  name: string,
  { shape, data }: BatchArray,
  sampleCount: number,
  problem: (numbers: BatchNumbers) => string | undefined,
): void {
  const size = sizeOf(shape);
  for (let sample = 0; sample < sampleCount; sample++) {
    const text = problem(data.subarray(sample * size, (sample + 1) * size));
    if (text !== undefined) throw new PeerError(`${name} of sample ${sample}: ${text}`);
  }
}

/** @param lengths the lengths of the axes seen so far, by name */
function checkShape(name: string, { shape, data }: BatchArray, rule: FieldRule, lengths: Map<string, number>): void {
  const dtype: FieldType = data instanceof Int32Array ? 'int32' : 'float32';
  const isLegal =
    dtype === rule.dtype &&
    shape.length === rule.axes.length &&
    rule.axes.every((axis, i) => fits(shape[i]!, axis, lengths));
  if (!isLegal) {
    const axes = rule.axes
      .map(({ name: axis, min, max }) => `${axis} ${min === max ? '=' : '≤'} ${lengths.get(axis) ?? max}`)
      .join(', ');
    throw new PeerError(`${name}: expected ${rule.dtype} [${axes}], received ${dtype} [${shape.join(', ')}]`);
  }
  for (const [i, { name: axis }] of rule.axes.entries()) lengths.set(axis, shape[i]!);
}

function fits(length: number, { name, min = 0, max }: FieldAxis, lengths: ReadonlyMap<string, number>): boolean {
  return length >= min && length <= max && (lengths.get(name) ?? length) === length;
}
