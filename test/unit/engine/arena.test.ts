/** The arena against what an allocator promises, over random calls. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InvariantError } from '../../../src/base/errors.ts';
import { Arena, type Block } from '../../../src/engine/native/arena.ts';

const slabSize = 1000;

/** Takes a block, if needed from a new slab. */
function take(arena: Arena, size: number): Block {
  const block = arena.take(size);
  if (block !== undefined) return block;
  arena.addSlab(Math.max(slabSize, size));
  return arena.take(size)!;
}

/** Positive: take so much; else give back the block that stands so far down the list of those in use. */
const calls = fc.array(
  fc.oneof(
    fc.integer({ min: 1, max: 2 * slabSize }),
    fc.integer({ min: 1, max: 60 }),
    fc.integer({ min: -50, max: 0 }),
  ),
  { maxLength: 300 },
);

function play(arena: Arena, steps: readonly number[], after: (inUse: readonly Block[]) => void): Block[] {
  const inUse: Block[] = [];
  for (const step of steps) {
    if (step > 0) inUse.push(take(arena, step));
    else if (inUse.length > 0) arena.give(inUse.splice(-step % inUse.length, 1)[0]!);
    after(inUse);
  }
  return inUse;
}

const place = ({ slab, offset, size }: Block) => [slab.index, offset, size];

describe('whatever is taken and given back', () => {
  test('blocks lie within their slab and never overlap; touched covers them', () => {
    fc.assert(
      fc.property(calls, (steps) => {
        const arena = new Arena();
        let most = 0;
        play(arena, steps, (inUse) => {
          const sorted = inUse.toSorted((a, b) => a.slab.index - b.slab.index || a.offset - b.offset);
          for (const [i, { slab, offset, size }] of sorted.entries()) {
            const next = sorted[i + 1];
            expect(offset + size).toBeLessThanOrEqual(next?.slab === slab ? next.offset : slab.capacity);
          }
          most = Math.max(
            most,
            inUse.reduce((sum, { size }) => sum + size, 0),
          );
          expect(arena.touched).toBeGreaterThanOrEqual(most);
          expect(arena.touched).toBeLessThanOrEqual(arena.capacity);
          expect(arena.holes).toBeLessThanOrEqual(inUse.length);
        });
      }),
    );
  });

  test('everything coalesces: given back in any order, each slab is one free space again', () => {
    fc.assert(
      fc.property(calls, fc.infiniteStream(fc.nat()), (steps, order) => {
        const arena = new Arena();
        const inUse = play(arena, steps, () => {});
        while (inUse.length > 0) arena.give(inUse.splice(order.next().value % inUse.length, 1)[0]!);
        expect(arena.holes).toBe(0);
        const { capacity, touched } = arena;
        const slabs = new Map<number, number>();
        for (let block = arena.take(1); block !== undefined; block = arena.take(1)) {
          slabs.set(block.slab.index, (slabs.get(block.slab.index) ?? 0) + 1);
        }
        expect([...slabs.values()].reduce((sum, size) => sum + size, 0)).toBe(capacity);
        expect(touched).toBeLessThanOrEqual(capacity);
      }),
      { numRuns: 30 },
    );
  });

  test('the same calls give the same blocks, the second time within the memory of the first', () => {
    fc.assert(
      fc.property(calls, (steps) => {
        const arena = new Arena();
        const run = () => {
          const places: number[][] = [];
          const left = play(arena, steps, (inUse) => places.push(inUse.flatMap(place)));
          for (const block of left) arena.give(block);
          return places;
        };
        const first = run();
        const { capacity, touched } = arena;
        expect(run()).toEqual(first);
        expect([arena.capacity, arena.touched]).toEqual([capacity, touched]);
      }),
    );
  });

  test('a block is taken where the least is left over, then from the lowest address', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 30 }), (sizes) => {
        const arena = new Arena();
        arena.addSlab(slabSize);
        const apart = sizes.map((size) => [arena.take(size)!, arena.take(1)!] as const);
        for (const [hole] of apart) arena.give(hole);
        const wanted = 10;
        const best = apart
          .map(([hole]) => place(hole) as [number, number, number])
          .filter(([, , size]) => size >= wanted)
          .toSorted((a, b) => a[2] - b[2] || a[1] - b[1])[0];
        const top = sizes.reduce((sum, size) => sum + size + 1, 0);
        expect(place(arena.take(wanted)!)).toEqual([0, best?.[1] ?? top, wanted]);
      }),
    );
  });
});

test('fragmentation is bounded where sizes change from pass to pass, as with a context that grows', () => {
  const arena = new Arena();
  let most = 0;
  for (let length = 1; length <= 100; length++) {
    const sizes = [length, 3 * length, length, 4 * length, 4 * length, length];
    const kept = sizes.map((size) => take(arena, size));
    for (const block of kept.toReversed()) {
      const gradient = take(arena, block.size);
      arena.give(block);
      arena.give(gradient);
    }
    most = 14 * length + 4 * length;
  }
  expect(arena.touched).toBeLessThanOrEqual(1.25 * most);
});

test('a block cannot be given back twice', () => {
  const arena = new Arena();
  arena.addSlab(10);
  const blocks = [arena.take(2)!, arena.take(2)!, arena.take(2)!];
  for (const block of blocks) {
    arena.give(block);
    expect(() => arena.give(block)).toThrow(InvariantError);
  }
  expect(() => arena.give({ ...blocks[0]! })).toThrow(InvariantError);
  expect(arena.take(10)).toBeDefined();
});
