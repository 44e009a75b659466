/** What the memory of the native engine holds, and what it gives out again. */
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { InvariantError, UserError } from '../../../src/base/errors.ts';
import { type NativeTensor, SharedMemory } from '../../../src/engine/native/sharedMemory.ts';

const MIB = 2 ** 20;

/** On buffers that start at a cache line; what is advised to be huge pages is noted, in MiB. */
function memoryOf(advised: number[] = []): SharedMemory {
  return new SharedMemory({
    misalignment: () => 0,
    adviseHugePages: ({ byteLength }) => advised.push(byteLength / MIB),
  });
}

function alloc(memory: SharedMemory, mib: number): NativeTensor {
  return memory.alloc([mib, MIB / 4], 'float32');
}

/** As a pass over a batch does: everything is in use together, then nothing is. */
function pass(memory: SharedMemory, sizes: readonly number[]): NativeTensor[] {
  const tensors = sizes.map((mib) => alloc(memory, mib));
  for (const tensor of tensors) memory.release(tensor);
  return tensors;
}

const addressOf = ({ data }: NativeTensor) => [data.buffer, data.byteOffset];

describe('the slabs', () => {
  test('are bounded while sizes never come again, as with a context that grows', () => {
    const memory = memoryOf();
    for (let length = 1; length <= 60; length++) {
      pass(memory, [length, length, length]);
      const { bytesInUse, bytesPooled, bytesPeak } = memory.memory();
      expect(bytesInUse).toBe(0);
      expect(bytesPooled).toBeLessThanOrEqual(2 * 3 * length * MIB);
      expect(bytesPeak).toBe(bytesPooled);
    }
  });

  test('give a step the addresses of the step before, and hold what its largest part needs', () => {
    const memory = memoryOf();
    const step = () => [...pass(memory, [12, 24, 20]), ...pass(memory, [11, 22, 18])].map(addressOf);
    const first = step();
    expect(memory.memory()).toEqual({ bytesInUse: 0, bytesPooled: 56 * MIB, bytesPeak: 56 * MIB });
    for (let i = 0; i < 3; i++) expect(step()).toEqual(first);
    expect(memory.memory().bytesPeak).toBe(56 * MIB);
  });

  test('serve another size with what was released', () => {
    const memory = memoryOf();
    const [, b, c, d] = [1, 2, 3, 1].map((mib) => alloc(memory, mib));
    memory.release(b!);
    memory.release(c!);
    const e = alloc(memory, 5);
    expect(addressOf(e)).toEqual([d!.data.buffer, b!.data.byteOffset]);
    expect(memory.memory()).toEqual({ bytesInUse: 7 * MIB, bytesPooled: 0, bytesPeak: 7 * MIB });
  });

  test('take huge pages beyond their first MiBs, groups from some MiB on', () => {
    const advised: number[] = [];
    const memory = memoryOf(advised);
    for (const mib of [1, 63, 100, 50, 200]) alloc(memory, mib);
    expect(advised).toEqual([60, 96, 160, 324]);
    memory.allocGroup([[MIB / 2], [MIB / 4]]);
    memory.allocGroup([[MIB], [MIB]]);
    expect(advised.slice(4)).toEqual([8]);
  });
});

test('groups are counted as held', () => {
  const memory = memoryOf();
  memory.allocGroup([[100, MIB / 4]]);
  pass(memory, [12]);
  expect(memory.memory()).toEqual({ bytesInUse: 100 * MIB, bytesPooled: 12 * MIB, bytesPeak: 112 * MIB });
  memory.clear();
  expect(memory.memory()).toEqual({ bytesInUse: 0, bytesPooled: 0, bytesPeak: 112 * MIB });
});

test('where the system has no memory for a large slab, one of the size that is needed does', () => {
  class Scarce extends SharedArrayBuffer {
    constructor(bytes: number) {
      if (bytes > 40 * MIB) throw new RangeError('Array buffer allocation failed');
      super(bytes);
    }
  }
  vi.stubGlobal('SharedArrayBuffer', Scarce);
  onTestFinished(() => void vi.unstubAllGlobals());
  const memory = memoryOf();
  pass(memory, [12, 24]);
  expect(memory.memory().bytesPooled).toBe(36 * MIB);
  expect(() => alloc(memory, 50)).toThrow('the system has no 50 MiB more memory');
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
