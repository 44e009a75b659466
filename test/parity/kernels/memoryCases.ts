/** Kernel suite: tensors, groups, the pool, and what an engine says of its memory. */
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../../src/base/errors.ts';
import type { Engine } from '../../../src/engine/engine.ts';
import { sha256Of } from '../../../src/engine/sha256.ts';
import { type ContextGetter, seededIntegers, seededValues } from './harness.ts';

/** A forward and backward pass of one linear layer with its activation: what a training step does to the pool. */
async function smallStep(engine: Engine): Promise<void> {
  const [inp, weight, dweight] = [engine.alloc([8, 5]), engine.alloc([5, 9]), engine.alloc([5, 9])];
  const [hidden, out, dout] = [engine.alloc([8, 9]), engine.alloc([8, 9]), engine.alloc([8, 9])];
  engine.upload(inp, seededValues(1, 40));
  engine.upload(weight, seededValues(2, 45));
  engine.zero(dweight);
  engine.linearForward({ out: hidden, inp, weight });
  engine.activationForward({ kind: 'gelu', out, inp: hidden });
  engine.activationBackward({ kind: 'gelu', dinp: dout, dout: out, inp: hidden });
  engine.linearBackward({ inp, weight, dout, dweight });
  for (const tensor of [inp, weight, hidden, out, dout]) engine.release(tensor);
  await engine.download(dweight, new Float32Array(45));
  engine.release(dweight);
}

export function memoryCases(context: ContextGetter): void {
  describe('tensors', () => {
    it('keep what was uploaded, float32 and int32, though the source changes afterwards', async () => {
      const k = context();
      const [floats, integers] = [seededValues(1, 12), seededIntegers(2, 12, 2 ** 31 - 1)];
      const [a, b] = [k.put([3, 4], floats.slice()), k.engine.alloc([12], 'int32')];
      const source = integers.slice();
      k.engine.upload(b, source);
      source.fill(0);
      expect(a.shape).toEqual([3, 4]);
      expect([a.dtype, b.dtype, a.size, b.size]).toEqual(['float32', 'int32', 12, 12]);
      expect(await k.read(a)).toEqual(floats);
      const back = new Int32Array(12);
      await k.engine.download(b, back);
      expect(back).toEqual(integers);
      k.engine.release(b);
    });

    it('hold what kernels computed before the device was waited for', async () => {
      const k = context();
      const [a, b] = [seededValues(1, 5000), seededValues(2, 5000)];
      const [first, second] = [k.put([5000], a), k.put([5000], b)];
      const out = k.out([5000]);
      k.engine.add({ out, a: first, b: second });
      await k.engine.finish();
      await k.expectClose(
        out,
        Float64Array.from(a, (x, i) => x + b[i]!),
        'add',
        'out',
      );
    });

    it('that are released may be taken again while kernels that read them are still enqueued', async () => {
      const k = context();
      const [a, b] = [seededValues(1, 5000), seededValues(2, 5000)];
      const [first, second] = [k.engine.alloc([5000]), k.engine.alloc([5000])];
      k.engine.upload(first, a);
      k.engine.upload(second, b);
      const out = k.out([5000]);
      k.engine.add({ out, a: first, b: second });
      k.engine.release(first);
      k.engine.release(second);
      const again = k.put([5000], seededValues(3, 5000));
      await k.expectClose(
        out,
        Float64Array.from(a, (x, i) => x + b[i]!),
        'add',
        'out',
      );
      expect(await k.read(again)).toEqual(seededValues(3, 5000));
    });

    it('of a wrong shape or size are an InvariantError', () => {
      const k = context();
      const [inp, weight, out] = [k.out([2, 3]), k.out([4, 5]), k.out([2, 5])];
      expect(() => k.engine.linearForward({ out, inp, weight })).toThrow(InvariantError);
      expect(() => k.engine.add({ out: inp, a: inp, b: weight })).toThrow(InvariantError);
      expect(() => k.engine.upload(inp, new Float32Array(5))).toThrow(InvariantError);
    });
  });

  describe('groups', () => {
    it('start at 0, hold their tensors apart, and can be zeroed', async () => {
      const k = context();
      const shapes = [[3], [5, 7], [1], [2, 33]];
      const group = k.engine.allocGroup(shapes);
      expect(group.tensors.map(({ shape }) => [...shape])).toEqual(shapes);
      for (const tensor of group.tensors) expect((await k.read(tensor)).every((value) => value === 0)).toBe(true);
      group.tensors.forEach((tensor, i) => {
        const end = group.offsets[i]! + tensor.size;
        expect(end).toBeLessThanOrEqual(group.offsets[i + 1] ?? group.length);
      });
      const values = k.fillGroup(group, 1);
      for (const [i, tensor] of group.tensors.entries()) expect(await k.read(tensor)).toEqual(values[i]);
      k.engine.zeroGroup(group);
      for (const tensor of group.tensors) expect((await k.read(tensor)).every((value) => value === 0)).toBe(true);
    });

    it('are copied out and in by ranges of their block, with whatever follows beside it', async () => {
      const k = context();
      const { engine } = k;
      const group = engine.allocGroup([[3], [5, 7], [2, 33]]);
      const values = k.fillGroup(group, 1);
      const block = new Float32Array(group.length);
      for (const [i, data] of values.entries()) block.set(data, group.offsets[i]);
      const range = engine.hostRange(group, 0, group.length);
      expect(range.buffer).toBeInstanceOf(SharedArrayBuffer);
      const middle = group.offsets[1]! + 11; // in the midst of a tensor
      const parts = [
        [0, middle],
        [middle, group.length],
      ] as const;
      const copies = parts.map(([from, to]) => engine.copyOut(group, from, to, range.subarray(from, to)));
      await Promise.all(copies);
      expect(range).toEqual(block);

      // What is copied out is what was there at the call.
      const before = new Float32Array(new SharedArrayBuffer(4 * group.length));
      const copied = engine.copyOut(group, 0, group.length, before);
      engine.zeroGroup(group);
      const [twice, kept] = [block.map((x) => 2 * x), new Float32Array(new SharedArrayBuffer(4 * group.length))];
      for (const [from, to] of parts) engine.copyIn(group, from, to, twice.subarray(from, to));
      const squares = engine.squaredNorm(group);
      const snapshot = engine.snapshot([group], [kept]);
      const checksum = engine.checksum([group]);
      engine.zeroGroup(group);
      await Promise.all([copied, snapshot]);
      expect(before).toEqual(block);
      expect(kept).toEqual(twice);
      expect(await squares).toBeCloseTo(
        twice.reduce((sum, x) => sum + x * x, 0),
        3,
      );
      expect(await checksum).toBe(sha256Of(values.map((data) => data.map((x) => 2 * x))));
      expect(await engine.squaredNorm(group)).toBe(0);

      // A range of a tensor alone leaves the rest.
      engine.copyIn(group, middle, middle + 2, Float32Array.of(7, 8));
      await engine.finish();
      const read = await k.read(group.tensors[1]!);
      expect([...read.subarray(10, 14)]).toEqual([0, 7, 8, 0]);
    });

    it('may be empty', async () => {
      const k = context();
      const group = k.engine.allocGroup([]);
      expect(group.tensors).toEqual([]);
      k.engine.zeroGroup(group);
      expect(await k.engine.squaredNorm(group)).toBe(0);
    });

    it('may have one tensor copied to another', async () => {
      const k = context();
      const group = k.engine.allocGroup([[5], [5]]);
      const [values] = k.fillGroup(group, 1);
      k.engine.copy({ out: group.tensors[1]!, inp: group.tensors[0]! });
      expect(await k.read(group.tensors[1]!)).toEqual(values);
    });

    it('are not copied as a snapshot to arrays of another length', async () => {
      const k = context();
      const group = k.engine.allocGroup([[5], [5]]);
      for (const length of [group.length - 1, group.length + 1]) {
        const array = new Float32Array(new SharedArrayBuffer(4 * length));
        await expect(k.engine.snapshot([group], [array])).rejects.toThrow(InvariantError);
      }
    });

    it('are not copied by ranges outside their block, nor with arrays of another length', async () => {
      const k = context();
      const { engine } = k;
      const group = engine.allocGroup([[3], [2, 2]]);
      const values = k.fillGroup(group, 1);
      const { length } = group;
      const wrong = [
        { from: -1, to: 2, numbers: 3 },
        { from: -2, to: -1, numbers: 1 },
        { from: length - 1, to: length + 1, numbers: 2 },
        { from: length - 1, to: length + 1, numbers: 1 },
        { from: 2, to: 1, numbers: 0 },
        { from: 0, to: 3, numbers: 2 },
        { from: 0, to: 3, numbers: 4 },
      ];
      for (const { from, to, numbers } of wrong) {
        const array = new Float32Array(new SharedArrayBuffer(4 * numbers));
        const what = `[${from}, ${to}) with ${numbers} numbers`;
        expect(() => engine.copyOut(group, from, to, array), what).toThrow(InvariantError);
        expect(() => engine.copyIn(group, from, to, array), what).toThrow(InvariantError);
      }
      engine.copyIn(group, length, length, new Float32Array(0));
      await engine.finish();
      for (const [i, tensor] of group.tensors.entries()) expect(await k.read(tensor)).toEqual(values[i]);
    });
  });

  describe('memory', () => {
    it('is the same after every step, and counts what is held', async () => {
      const k = context();
      await smallStep(k.engine);
      const before = k.engine.memory();
      for (let step = 0; step < 5; step++) await smallStep(k.engine);
      const after = k.engine.memory();
      expect([after.bytesInUse, after.bytesPeak]).toEqual([before.bytesInUse, before.bytesPeak]);
      const held = k.put([1000], seededValues(1, 1000));
      expect(k.engine.memory().bytesInUse).toBeGreaterThanOrEqual(before.bytesInUse + 4 * held.size);
      expect(k.engine.memory().bytesPeak).toBeGreaterThanOrEqual(k.engine.memory().bytesInUse);
    });
  });
}
