/** What the memory of the native engine keeps, gives out again and drops. */
import { describe, expect, test } from 'vitest';
import { InvariantError, UserError } from '../../../src/base/errors.ts';
import { type NativeTensor, SharedMemory } from '../../../src/engine/native/sharedMemory.ts';

const MIB = 2 ** 20;

function memoryOf(): SharedMemory {
  return new SharedMemory(() => 0);
}

function alloc(memory: SharedMemory, mib: number): NativeTensor {
  return memory.alloc([mib, MIB / 4], 'float32');
}

/** As a pass over a batch does: everything is in use together, then nothing is. */
function pass(memory: SharedMemory, sizes: readonly number[]): void {
  const tensors = sizes.map((mib) => alloc(memory, mib));
  for (const tensor of tensors) memory.release(tensor);
}

describe('the pool', () => {
  test('is bounded while sizes never come again, as with a context that grows', () => {
    const memory = memoryOf();
    for (let length = 1; length <= 60; length++) {
      pass(memory, [length, length, length]);
      const { bytesInUse, bytesPooled, bytesPeak } = memory.memory();
      expect(bytesInUse).toBe(0);
      expect(bytesPooled).toBeLessThanOrEqual(Math.max(16, 3 * 3 * length) * MIB);
      expect(bytesPeak).toBeGreaterThanOrEqual(bytesPooled);
    }
  });

  test('keeps all that two sizes of microbatch take in turn', () => {
    const memory = memoryOf();
    const step = () => {
      pass(memory, [12, 24, 36]);
      pass(memory, [11, 22, 33]);
    };
    step();
    const kept = memory.memory();
    expect(kept.bytesPooled).toBe((72 + 66) * MIB);
    for (let i = 0; i < 3; i++) step();
    expect(memory.memory()).toEqual(kept);
  });

  test('drops what was released longest ago first', () => {
    const memory = memoryOf();
    pass(memory, [8]);
    for (const mib of [9, 7, 8]) pass(memory, [mib]); // 8 again: 9 and 7 are older
    expect(memory.memory().bytesPooled).toBe(24 * MIB);
    const tensor = alloc(memory, 5); // 27 MiB may be kept in all: 9 goes
    expect(memory.memory()).toMatchObject({ bytesInUse: 5 * MIB, bytesPooled: 15 * MIB });
    memory.release(tensor);
  });

  test('does not count groups as what tensors need', () => {
    const memory = memoryOf();
    memory.allocGroup([[100, MIB / 4]]);
    for (let mib = 1; mib <= 12; mib++) pass(memory, [mib]);
    expect(memory.memory().bytesInUse).toBe(100 * MIB);
    expect(memory.memory().bytesPooled).toBeLessThanOrEqual(36 * MIB);
  });
});

test('memory that the system does not have is said with what to do', () => {
  const memory = memoryOf();
  for (const allocate of [
    () => memory.alloc([2 ** 26, 2 ** 26], 'float32'),
    () => memory.allocGroup([[2 ** 26, 2 ** 26]]),
  ]) {
    expect(allocate).toThrow(UserError);
    expect(allocate).toThrow('MiB more memory. Use a smaller model, a smaller train.microBatchSize');
  }
  expect(memory.memory()).toEqual({ bytesInUse: 0, bytesPooled: 0, bytesPeak: 0 });
  expect(() => memory.alloc([2, -1], 'int32')).toThrow(InvariantError);
});
