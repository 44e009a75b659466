/**
 * A model whose training is a pure function of the steps applied: gradients are sums of small whole numbers, exact in float32
 * however they are divided, and an update mixes the step into every number.
 */
import { createHash } from 'node:crypto';
import { mix32 } from '../../src/base/counterRandom.ts';

/** Numbers in each tensor, and where it starts: as in an engine's memory there is padding. */
export const sizes = [3, 5] as const;
export const offsets = [0, 4] as const;
export const blockLength = 9;
export const buckets = [
  { start: 0, end: 4 },
  { start: 4, end: 9 },
] as const;
export const tensors = [
  { name: 'a', shape: [3] },
  { name: 'b', shape: [5] },
];

export type Blocks = readonly [Float32Array, Float32Array, Float32Array];

/** Of one sample. */
export function gradientOf(step: number, sample: number, element: number): number {
  return (mix32(step * 65_537 + sample * 257 + element) % 15) - 7;
}

export function newBlocks(): Blocks {
  const [p, m, v] = [new Float32Array(blockLength), new Float32Array(blockLength), new Float32Array(blockLength)];
  for (const [i, offset] of offsets.entries()) for (let j = 0; j < sizes[i]!; j++) p[offset + j] = 100 * i + j;
  return [p, m, v];
}

export function update([p, m, v]: Blocks, gradients: Float32Array, step: number): void {
  for (const [i, offset] of offsets.entries()) {
    for (let at = offset; at < offset + sizes[i]!; at++) {
      const g = gradients[at]!;
      m[at] = (3 * m[at]! + g + step) % 4_093;
      v[at] = (5 * v[at]! + g * g) % 8_191;
      p[at] = (7 * p[at]! + m[at]! + v[at]!) % 65_521;
    }
  }
}

/** Dense: parameters, m, v. */
export function dense(blocks: Blocks): Float32Array {
  return Float32Array.from(
    blocks.flatMap((block) => offsets.flatMap((offset, i) => [...block.subarray(offset, offset + sizes[i]!)])),
  );
}

export function fill(blocks: Blocks, numbers: Float32Array): void {
  let from = 0;
  for (const block of blocks) {
    for (const [i, offset] of offsets.entries()) {
      block.set(numbers.subarray(from, from + sizes[i]!), offset);
      from += sizes[i]!;
    }
  }
}

export function hashOf(numbers: Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength))
    .digest('hex');
}

/** What every replica must be after each step: computed once. */
export class Reference {
  /** Of each step, over the global batch. */
  readonly gradients: Float32Array[] = [new Float32Array(blockLength)];
  readonly states: Float32Array[];

  constructor(maxSteps: number, globalBatchSize: number) {
    const blocks = newBlocks();
    this.states = [dense(blocks)];
    for (let step = 1; step <= maxSteps; step++) {
      const gradients = new Float32Array(blockLength);
      for (let sample = 0; sample < globalBatchSize; sample++) {
        for (let j = 0; j < blockLength; j++) gradients[j]! += gradientOf(step, sample, j);
      }
      update(blocks, gradients, step);
      this.gradients.push(gradients);
      this.states.push(dense(blocks));
    }
  }

  isState(step: number, numbers: Float32Array): boolean {
    return isEqual(this.states[step], numbers);
  }
}

export function isEqual(a: Float32Array | undefined, b: Float32Array): boolean {
  return a !== undefined && a.length === b.length && a.every((value, i) => value === b[i]);
}
