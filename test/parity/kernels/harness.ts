/** What the kernel suite's cases share: seeded inputs, tensors that are released after each test, and the comparison. */
import { expect } from 'vitest';
import { randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import type { Dropout } from '../../../src/engine/dropout.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import type { DType, HostArray, Shape, Tensor, TensorGroup } from '../../../src/engine/tensor.ts';
import { fromBfloat16, toBfloat16 } from './bfloat16.ts';
import type { Numbers } from './reference.ts';
import { TOLERANCES, type ToleranceName } from './tolerances.ts';

/** Values in [-1, 1), exactly representable in float32, the same for the same seed. */
export function seededValues(seed: number, size: number): Float32Array {
  const key = randomKey(seed, size);
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) values[i] = 2 * randomUniform(key, i) - 1;
  return values;
}

/**
 * A matrix in which some rows are 1,024 times smaller than others, and some columns too: what is wrong in them shows only where
 * each number is held to its own size.
 */
export function unevenValues(seed: number, rows: number, columns: number): Float32Array {
  const values = seededValues(seed, rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (row % 3 === 1) values[row * columns + column]! *= 2 ** -10;
      if (column % 5 === 3) values[row * columns + column]! *= 2 ** -10;
    }
  }
  return values;
}

/** What a gradient held before more is added: small, so that what is added is checked closely. */
export function smallValues(seed: number, size: number): Float32Array {
  return seededValues(seed, size).map((value) => value / 1024);
}

/** Integers in [0, below). */
export function seededIntegers(seed: number, size: number, below: number): Int32Array {
  const key = randomKey(seed, size, below);
  return Int32Array.from({ length: size }, (_, i) => Math.floor(randomUniform(key, i) * below));
}

/** Dropout whose every word matters: none of them is 0. */
export function seededDropout(seed: number, rate: number): Dropout {
  return { rate, seed, step: 5, firstSample: 3, site: 2 };
}

export function sizeOf(shape: Shape): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/**
 * The largest difference, relative to the largest expected magnitude, or to `scale` if that is larger: the size of the terms, for
 * results that are small because they cancel. Infinite where a number is missing or not finite.
 */
export function relativeError(actual: Numbers, expected: Numbers, scale = 0): number {
  if (actual.length !== expected.length) return Infinity;
  let difference = 0;
  let magnitude = scale;
  for (let i = 0; i < expected.length; i++) {
    if (!Number.isFinite(actual[i]!)) return Infinity;
    difference = Math.max(difference, Math.abs(actual[i]! - expected[i]!));
    magnitude = Math.max(magnitude, Math.abs(expected[i]!));
  }
  return difference === 0 ? 0 : difference / Math.max(magnitude, Number.MIN_VALUE);
}

/**
 * As `relativeError`, number by number. Rounding of a sum grows with its terms, not with what remains of them: `terms` is the sum
 * of their magnitudes, one for each number. Where there is one figure for all, or none, each number is held to the largest
 * magnitude in its row of `columns` numbers, or to that figure if it is larger.
 */
export function errorByRow(actual: Numbers, expected: Numbers, columns: number, terms: Numbers | number = 0): number {
  if (actual.length !== expected.length || expected.length % columns !== 0) return Infinity;
  if (typeof terms !== 'number' && terms.length !== expected.length) return Infinity;
  let error = 0;
  if (typeof terms === 'number') {
    for (let row = 0; row < expected.length; row += columns) {
      const end = row + columns;
      error = Math.max(error, relativeError(actual.subarray(row, end), expected.subarray(row, end), terms));
    }
    return error;
  }
  for (let i = 0; i < expected.length; i++) {
    if (!Number.isFinite(actual[i]!)) return Infinity;
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (difference === 0) continue;
    error = Math.max(error, difference / Math.max(terms[i]!, Math.abs(expected[i]!), Number.MIN_VALUE));
  }
  return error;
}

function dtypeOf(data: HostArray): DType {
  if (data instanceof Float32Array) return 'float32';
  return data instanceof Uint16Array ? 'bfloat16' : 'int32';
}

/** What a case of the suite works with; one for each engine. */
export class KernelContext {
  readonly engine: Engine;
  private readonly toleranceFactor: number;
  private live: Tensor[] = [];

  constructor(engine: Engine, toleranceFactor: number) {
    this.engine = engine;
    this.toleranceFactor = toleranceFactor;
  }

  /** A tensor with these contents. */
  put(shape: Shape, data: HostArray): Tensor {
    const tensor = this.engine.alloc(shape, dtypeOf(data));
    this.live.push(tensor);
    this.engine.upload(tensor, data);
    return tensor;
  }

  /** A tensor full of NaN: what a kernel assigns must not depend on the previous content, and must all be written. */
  out(shape: Shape, dtype: 'float32' | 'bfloat16' = 'float32'): Tensor {
    const data = new Float32Array(sizeOf(shape)).fill(Number.NaN);
    return this.put(shape, dtype === 'bfloat16' ? toBfloat16(data) : data);
  }

  /** A tensor full of 0, for a kernel that adds to it. */
  zeros(shape: Shape): Tensor {
    return this.put(shape, new Float32Array(sizeOf(shape)));
  }

  /** The numbers of a float32 or bfloat16 tensor. */
  async read(tensor: Tensor): Promise<Float32Array> {
    if (tensor.dtype === 'bfloat16') {
      const halves = new Uint16Array(tensor.size);
      await this.engine.download(tensor, halves);
      return fromBfloat16(halves);
    }
    const data = new Float32Array(tensor.size);
    await this.engine.download(tensor, data);
    return data;
  }

  /** Fills the tensors of a group with seeded values and returns them. */
  fillGroup(group: TensorGroup, seed: number): Float32Array[] {
    return group.tensors.map((tensor, i) => {
      const data = seededValues(seed + i, tensor.size);
      this.engine.upload(tensor, data);
      return data;
    });
  }

  /** Holds numbers to the tolerance of a kernel; `terms` and `columns` are those of `errorByRow`. */
  expectNumbers(
    actual: Numbers,
    expected: Numbers,
    kernel: ToleranceName,
    what: string,
    terms: Numbers | number = 0,
    columns = expected.length,
  ): void {
    const error = errorByRow(actual, expected, columns, terms);
    const tolerance = TOLERANCES[kernel] * this.toleranceFactor;
    expect(error, `${kernel}: ${what} is off by ${error}, tolerance ${tolerance}`).toBeLessThanOrEqual(tolerance);
  }

  async expectClose(
    actual: Tensor,
    expected: Numbers,
    kernel: ToleranceName,
    what: string,
    terms: Numbers | number = 0,
  ): Promise<void> {
    this.expectNumbers(await this.read(actual), expected, kernel, what, terms, actual.shape.at(-1));
  }

  /** As `expectClose`, for a tensor that held `initial` and to which `added`, a sum of terms of the size `terms`, was accumulated. */
  async expectAccumulated(
    actual: Tensor,
    initial: Numbers,
    added: Float64Array,
    kernel: ToleranceName,
    what: string,
    terms: Float64Array,
  ): Promise<void> {
    await this.expectClose(
      actual,
      added.map((value, i) => value + initial[i]!),
      kernel,
      what,
      terms.map((size, i) => size + Math.abs(initial[i]!)),
    );
  }

  releaseAll(): void {
    for (const tensor of this.live) this.engine.release(tensor);
    this.live = [];
  }
}

/** How a family of cases reaches the context, which exists once the engine has started. */
export type ContextGetter = () => KernelContext;
