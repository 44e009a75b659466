import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { selectTop } from '../../../src/model/topK.ts';

/** Sorts everything. */
function expected(values: Float32Array, target: number, shares: Float64Array): number[] {
  const ranked = [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b);
  const selected: number[] = [];
  for (let reached = 0; reached < target && selected.length < ranked.length; ) {
    const next = ranked[selected.length]!;
    selected.push(next);
    reached += shares[next]!;
  }
  return selected.sort((a, b) => a - b);
}

const anyValues = fc
  .array(
    fc.oneof(
      fc.float({ min: -30, max: 30, noNaN: true }),
      fc.integer({ min: -2, max: 2 }),
      fc.constantFrom(Number.NEGATIVE_INFINITY, -3e38, 3e38),
    ),
    { minLength: 1, maxLength: 60 },
  )
  .map((values) => Float32Array.from(values));

describe('largest', () => {
  it('selects by number what sorting everything selects', () => {
    fc.assert(
      fc.property(anyValues, fc.integer({ min: 1, max: 70 }), (values, count) => {
        const ones = new Float64Array(values.length).fill(1);
        expect([...selectTop(values, count)]).toEqual(expected(values, count, ones));
      }),
    );
  });

  it('and by shares', () => {
    fc.assert(
      fc.property(anyValues, fc.integer({ min: 1, max: 100 }), fc.integer(), (values, target, seed) => {
        const shares = Float64Array.from(values, (_, i) => Math.abs(seed * 31 + i * 7) % 5); // whole numbers: sums are exact
        expect([...selectTop(values, target, shares)]).toEqual(expected(values, target, shares));
      }),
    );
  });

  it.each<[string, (i: number) => number]>([
    ['are anywhere', (i) => (i * 7919) % 20_011],
    ['are those that a sample sees', (i) => (i % 16 === 0 ? 50 + (i % 37) : (i * 7919) % 43)],
    ['are those that a sample misses', (i) => (i % 16 === 0 ? -50 : (i * 7919) % 43)],
    ['are all equal', () => 3],
    ['are infinite but for a few', (i) => (i % 1000 === 7 ? i : Number.NEGATIVE_INFINITY)],
  ])('selects a few of many that %s', (_, valueAt) => {
    const values = Float32Array.from({ length: 20_003 }, (_, i) => valueAt(i));
    const ones = new Float64Array(values.length).fill(1);
    for (const count of [1, 2, 40, 200, 1300, 3000]) {
      expect([...selectTop(values, count)]).toEqual(expected(values, count, ones));
    }
  });

  it('ranks what lies closer together than a bin is wide', () => {
    const values = Float32Array.from({ length: 5000 }, (_, i) => 1 + ((i * 911) % 5000) * 2 ** -20);
    values[7] = -50;
    values[8] = 40;
    const ones = new Float64Array(values.length).fill(1);
    for (const count of [1, 2, 100, 4999]) expect([...selectTop(values, count)]).toEqual(expected(values, count, ones));
  });
});
