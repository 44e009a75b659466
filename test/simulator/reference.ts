/**
 * A model whose training is a pure function of the steps applied: gradients are small whole numbers, whose sums are exact in float32
 * in any order, and an update mixes the step into every number.
 */
import { createHash } from 'node:crypto';
import { mix32 } from '../../src/base/counterRandom.ts';
import { type StateTensor, stateParts } from '../../src/base/stateParts.ts';

/** Numbers in each trained tensor, and where it starts: as in an engine's memory there is padding. */
const sizes = [3, 5] as const;
export const offsets = [0, 4] as const;
export const blockLength = 9;
export const buckets = [
  { start: 0, end: 4 },
  { start: 4, end: 9 },
] as const;
/** Tensor i is bucket i. */
export const bucketPlan = { buckets, bucketsOfTensor: buckets.map((_, i) => ({ first: i, last: i })) };
export const tensors: readonly StateTensor[] = [
  { name: 'a', shape: [3], parts: stateParts },
  { name: 'b', shape: [5], parts: stateParts },
  { name: 'c', shape: [2], parts: ['model'] },
];

const trainedBlock = { length: blockLength, offsets, sizes };
const frozenBlock = { length: 4, offsets: [1], sizes: [2] };
/** The parts of a state: averages, frozen values, trained values, and both moments. */
export const stateBlocks = [trainedBlock, frozenBlock, trainedBlock, trainedBlock, trainedBlock];
/** Numbers of each part in a stream. */
export const partLengths = [10, 8, 8, 8] as const;

export type Blocks = readonly [
  average: Float32Array,
  frozen: Float32Array,
  p: Float32Array,
  m: Float32Array,
  v: Float32Array,
];

/** For one sample. */
function gradientOf(step: number, sample: number, element: number): number {
  return (mix32(step * 65_537 + sample * 257 + element) % 15) - 7;
}

export function newBlocks(): Blocks {
  const [average, frozen, p, m, v] = stateBlocks.map(({ length }) => new Float32Array(length));
  for (const [i, offset] of offsets.entries()) for (let j = 0; j < sizes[i]!; j++) p![offset + j] = 100 * i + j;
  average!.set(p!);
  frozen!.set([0, 71, 72]);
  return [average!, frozen!, p!, m!, v!];
}

export function update([average, , p, m, v]: Blocks, gradients: Float32Array, step: number): void {
  for (const [i, offset] of offsets.entries()) {
    for (let at = offset; at < offset + sizes[i]!; at++) {
      const g = gradients[at]!;
      m[at] = (3 * m[at]! + g + step) % 4_093;
      v[at] = (5 * v[at]! + g * g) % 8_191;
      p[at] = (7 * p[at]! + m[at]! + v[at]!) % 65_521;
      average[at] = (3 * average[at]! + p[at]!) % 65_521;
    }
  }
}

/** As in a stream: without padding. */
export function dense(blocks: readonly Float32Array[]): Float32Array {
  return Float32Array.from(blocks.flatMap((block, i) => tensorsIn(block, i).flatMap((tensor) => [...tensor])));
}

function tensorsIn(block: Float32Array, index: number): Float32Array[] {
  const { offsets: starts, sizes: lengths } = stateBlocks[index]!;
  return starts.map((offset, i) => block.subarray(offset, offset + lengths[i]!));
}

/** Copies blocks to others. */
export function copy(from: readonly Float32Array[], to: readonly Float32Array[]): void {
  for (const [i, block] of from.entries()) to[i]!.set(block);
}

export function fill(blocks: Blocks, numbers: Float32Array): void {
  let from = 0;
  for (const tensor of blocks.flatMap(tensorsIn)) {
    tensor.set(numbers.subarray(from, from + tensor.length));
    from += tensor.length;
  }
}

export function hashOf(numbers: Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength))
    .digest('hex');
}

/** The samples [sampleFrom, sampleFrom + sampleCount) of a step, as one rank computes them. */
export interface Share {
  readonly sampleFrom: number;
  readonly sampleCount: number;
}

/** With what depends on the share, as rounding does: a step that is done again by other ranks gives another state. */
export function gradientOfShare(step: number, { sampleFrom, sampleCount }: Share, element: number): number {
  let sum = mix32(step * 8_191 + sampleFrom * 127 + sampleCount * 31 + element) % 3;
  for (let i = 0; i < sampleCount; i++) sum += gradientOf(step, sampleFrom + i, element);
  return sum;
}

/** What every replica must be after each step: a pure function of the steps committed and of how each was divided. */
export class Reference {
  /** One for each step, over the global batch. */
  readonly gradients: Float32Array[] = [new Float32Array(blockLength)];
  readonly states: Float32Array[] = [dense(newBlocks())];
  /** What every replica must clip the gradient of each step by. */
  readonly norms: number[] = [0];

  commit(step: number, shares: readonly Share[], norm: number): void {
    const gradients = new Float32Array(blockLength);
    for (const share of shares) {
      for (let at = 0; at < blockLength; at++) gradients[at]! += gradientOfShare(step, share, at);
    }
    const blocks = newBlocks();
    fill(blocks, this.states[step - 1]!);
    update(blocks, gradients, step);
    this.gradients[step] = gradients;
    this.norms[step] = norm;
    this.states[step] = dense(blocks);
  }

  isState(step: number, numbers: Float32Array): boolean {
    return isEqual(this.states[step], numbers);
  }
}

export function isEqual(a: Float32Array | undefined, b: Float32Array): boolean {
  return a !== undefined && a.length === b.length && a.every((value, i) => value === b[i]);
}
