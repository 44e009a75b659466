/** What decides whether a reference is computed again. */
import { expect, it } from 'vitest';
import { shared } from './sharedReference.ts';

function counted() {
  const calls = { count: 0 };
  const scaled = shared((input: { values: Float32Array; bias?: number | undefined }, scale: number) => {
    calls.count++;
    return { out: Float64Array.from(input.values, (value) => scale * value + (input.bias ?? 0)) };
  });
  return { calls, scaled };
}

it('equal operands are computed once, whichever array holds them', () => {
  const { calls, scaled } = counted();
  const first = scaled({ values: Float32Array.of(1, 2) }, 3);
  expect(scaled({ values: Float32Array.of(0, 1, 2).subarray(1), bias: undefined }, 3)).toEqual(first);
  expect(calls.count).toBe(1);
});

it('one bit of an array, a number, an option or a type that differs is another case', () => {
  const { calls, scaled } = counted();
  const values = Float32Array.of(1, 2);
  scaled({ values }, 3);
  expect(scaled({ values: Float32Array.of(1, 2 + 2 ** -22) }, 3).out[1]).toBe(6 + 3 * 2 ** -22);
  expect(scaled({ values }, 3 + 2 ** -51).out[0]).toBe(3 + 2 ** -51);
  expect(scaled({ values, bias: 0.5 }, 3).out[0]).toBe(3.5);
  expect(scaled({ values }, Number.NaN).out[0]).toBeNaN();
  expect(scaled({ values }, Infinity).out[0]).toBe(Infinity);
  expect(scaled({ values: new Float32Array(new Uint8Array(8).buffer) }, 1).out).toEqual(new Float64Array(2));
  expect(scaled({ values: new Int32Array(2) as unknown as Float32Array }, 1).out).toEqual(new Float64Array(2));
  expect(calls.count).toBe(8);
});

it('what a caller does to its results, no other sees', () => {
  const { scaled } = counted();
  const operands = { values: Float32Array.of(1) };
  scaled(operands, 3).out.fill(0);
  expect(scaled(operands, 3).out[0]).toBe(3);
});
