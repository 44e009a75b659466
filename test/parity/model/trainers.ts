/** What the suites of this folder do with trainers. */
import { expect } from 'vitest';
import { type Batch, samplesOf } from '../../../src/base/batch.ts';
import { Tape } from '../../../src/model/tape.ts';
import type { MicroStepOptions, Trainer } from '../../../src/model/training.ts';
import { type TokenBatch, targetsOf } from '../../../src/task/nextToken.ts';
import { relativeError } from '../kernels/harness.ts';

/** Relative to the largest magnitude in each tensor. */
export const tolerance = 1e-4;

export function meanLoss(batch: Batch): MicroStepOptions {
  return { ...batch, lossScale: 1 / targetsOf(batch) };
}

/** The samples of a batch in microbatches of these sizes. */
export function split(batch: Batch, sizes: readonly number[]): Batch[] {
  let from = 0;
  return sizes.map((size) => {
    from += size;
    return samplesOf(batch, from - size, size);
  });
}

export async function logitsOf({ engine, model }: Trainer, { sampleCount, arrays }: TokenBatch): Promise<Float32Array> {
  const tape = new Tape(engine);
  const logits = model.forward(tape, tape.upload(arrays.tokens.data, [sampleCount, ...arrays.tokens.shape])).value;
  const into = new Float32Array(logits.size);
  await engine.download(logits, into);
  tape.discard();
  return into;
}

export async function read({ parameters }: Trainer, part: 'params' | 'grads'): Promise<Map<string, Float32Array>> {
  const result = new Map<string, Float32Array>();
  for (const [index, { name, size }] of parameters.specsOf(part).entries()) {
    const into = new Float32Array(size);
    await parameters.readTensor(part, index, into);
    result.set(name, into);
  }
  return result;
}

export async function expectGradients(trainer: Trainer, expected: ReadonlyMap<string, Float32Array>): Promise<void> {
  const actual = await read(trainer, 'grads');
  expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [name, gradient] of actual) expectClose(gradient, expected.get(name)!, name);
}

export function expectClose(actual: Float32Array, expected: Float32Array, what: string, within = tolerance): void {
  expect(relativeError(actual, expected), what).toBeLessThan(within);
}

export const relative = (actual: number, expected: number): number => Math.abs(actual / expected - 1);
