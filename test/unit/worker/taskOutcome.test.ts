import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { PeerError, UserError } from '../../../src/base/errors.ts';
import { outcomeOf, unwrap } from '../../../src/worker/taskOutcome.ts';
import { failureOf } from '../../../src/worker/workerFailure.ts';

/** As a result crosses from the compute thread. */
async function cross<T>(task: () => Promise<T>): Promise<T> {
  return unwrap(structuredClone(await outcomeOf(task)));
}

it('gives the value that the task returned', async () => {
  const value = { gradients: new Float32Array([1, 2]) };
  expect(await cross(async () => value)).toEqual(value);
  expect(await cross(async () => undefined)).toBeUndefined();
});

it.each([UserError, PeerError])('keeps the kind and the message of %o', async (Kind) => {
  const failed = cross(() => Promise.reject(new Kind('which and why')));
  await expect(failed).rejects.toBeInstanceOf(Kind);
  await expect(failed).rejects.toThrow('which and why');
});

it('keeps the stack of a bug, which is in the other thread', async () => {
  async function theFaultyKernel(): Promise<void> {
    throw new RangeError('out of bounds');
  }
  const error = (await cross(theFaultyKernel).catch((cause: unknown) => cause)) as Error;
  expect(error).not.toBeInstanceOf(UserError);
  expect(error).not.toBeInstanceOf(PeerError);
  expect(error.message).toBe('out of bounds');
  expect(error.stack).toContain('theFaultyKernel');
});

it('takes a thrown value that is not an Error', async () => {
  await expect(cross(() => Promise.reject('a string'))).rejects.toThrow('a string');
});

it('names the file of a failed system call, across the thread and to the coordinator', async () => {
  const message = 'cannot open /nowhere/a.bin: there is no such file or folder (ENOENT)';
  const error: unknown = await cross(() => readFile('/nowhere/a.bin')).catch((thrown: unknown) => thrown);
  expect((error as Error).message).toBe(message);
  expect(failureOf(error, 3, 'evaluation').message).toBe(message);
  const direct: unknown = await readFile('/nowhere/a.bin').catch((thrown: unknown) => thrown);
  expect(failureOf(direct, 3, 'evaluation').message).toBe(message);
});
