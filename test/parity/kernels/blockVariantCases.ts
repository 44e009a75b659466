/** Kernel suite: what blocks other than GPT-2's consist of: root-mean-square norm, rotary positions, gated activations. */
import { describe, expect, it } from 'vitest';
import { rotaryTable } from '../../../src/architecture/rotaryTable.ts';
import { type ActivationKind, activationKinds } from '../../../src/base/activations.ts';
import { InvariantError } from '../../../src/base/errors.ts';
import { roundedToBfloat16, toBfloat16 } from './bfloat16.ts';
import { startsOf } from './documentCases.ts';
import { type ContextGetter, type KernelContext, seededValues, smallValues, unevenValues } from './harness.ts';
import { reference } from './sharedReference.ts';

type FloatType = 'float32' | 'bfloat16';

export function blockVariantCases(context: ContextGetter): void {
  rmsNormCases(context);
  ropeCases(context, 'float32');
  gatedCases(context, 'float32');
}

export function blockVariantBfloat16Cases(context: ContextGetter): void {
  rmsNormBfloat16Cases(context);
  ropeCases(context, 'bfloat16');
  gatedCases(context, 'bfloat16');
}

const eps = 1e-5;

function rmsNormCases(context: ContextGetter): void {
  describe('rms norm', () => {
    const shapes = [
      [1, 1],
      [3, 5],
      [7, 64],
      [33, 65],
      [130, 96],
      [300, 260],
      [2, 9000],
    ] as const;

    it.each(shapes)('N=%i C=%i, forward and backward', async (n, c) => {
      const k = context();
      const input = { inp: unevenValues(1, n, c), weight: seededValues(2, c), n, c };
      const [inp, weight] = [k.put([n, c], input.inp), k.put([c], input.weight)];
      const [out, rstd] = [k.out([n, c]), k.out([n])];
      k.engine.rmsNormForward({ out, rstd, inp, weight, eps });
      const forward = reference.rmsNormForward(input, eps);
      await k.expectClose(out, forward.out, 'rmsNormForward', 'out', forward.out.map(Math.abs));
      await k.expectClose(rstd, forward.rstd, 'rmsNormForward', 'rstd', forward.rstd);

      const doutValues = unevenValues(4, n, c);
      const expected = reference.rmsNormBackward(input, forward.rstd, doutValues);
      const made = reference.rmsNormBackwardTerms(input, forward.rstd, doutValues);
      const initial = { dinp: smallValues(5, n * c), dweight: smallValues(6, c) };
      const [dweight, alone] = [k.put([c], initial.dweight), k.zeros([c])];
      const [assigned, accumulated] = [k.out([n, c]), k.put([n, c], initial.dinp)];
      const operands = { dout: k.put([n, c], doutValues), inp, weight, rstd };
      const name = 'rmsNormBackward';
      k.engine.rmsNormBackward({ ...operands, dinp: assigned, dweight });
      await k.expectClose(assigned, expected.dinp, name, 'dinp', made.dinp);
      await k.expectAccumulated(dweight, initial.dweight, expected.dweight, name, 'dweight', made.dweight);
      k.engine.rmsNormBackward({ ...operands, dinp: accumulated, accumulate: true });
      await k.expectAccumulated(accumulated, initial.dinp, expected.dinp, name, 'dinp, accumulated', made.dinp);
      k.engine.rmsNormBackward({ ...operands, dweight: alone });
      await k.expectClose(alone, expected.dweight, name, 'dweight alone', made.dweight);
      expect(() => k.engine.rmsNormBackward(operands)).toThrow(InvariantError);
    });
  });
}

function rmsNormBfloat16Cases(context: ContextGetter): void {
  it.each([
    { n: 1, c: 3 },
    { n: 13, c: 65 },
    { n: 129, c: 96 },
  ])('rms norm to bfloat16 N=$n C=$c', async ({ n, c }) => {
    const k = context();
    const input = { inp: seededValues(1, n * c), weight: seededValues(2, c), n, c };
    const [inp, weight] = [k.put([n, c], input.inp), k.put([c], input.weight)];
    const [out, rstd] = [k.out([n, c], 'bfloat16'), k.out([n])];
    k.engine.rmsNormForward({ out, rstd, inp, weight, eps });
    const forward = reference.rmsNormForward(input, eps);
    await k.expectClose(out, forward.out, 'roundedToBfloat16', 'out', forward.out.map(Math.abs));

    const doutValues = unevenValues(4, n, c);
    const rounded = roundedToBfloat16(doutValues);
    const expected = reference.rmsNormBackward(input, forward.rstd, rounded);
    const made = reference.rmsNormBackwardTerms(input, forward.rstd, rounded);
    const [dinp, dweight] = [k.out([n, c]), k.zeros([c])];
    k.engine.rmsNormBackward({ dinp, dweight, dout: k.put([n, c], toBfloat16(doutValues)), inp, weight, rstd });
    await k.expectClose(dinp, expected.dinp, 'rmsNormBackward', 'dinp', made.dinp);
    await k.expectClose(dweight, expected.dweight, 'rmsNormBackward', 'dweight', made.dweight);
  });
}

/** Values of a tensor of this type, and how to put them there. */
function operand(k: KernelContext, seed: number, shape: readonly number[], type: FloatType) {
  const columns = shape.at(-1)!;
  const values = unevenValues(seed, shape.reduce((product, extent) => product * extent, 1) / columns, columns);
  const numbers = type === 'bfloat16' ? roundedToBfloat16(values) : values;
  return { numbers, put: () => k.put(shape, type === 'bfloat16' ? toBfloat16(values) : values) };
}

function ropeCases(context: ContextGetter, type: FloatType): void {
  const tolerance = type === 'bfloat16' ? 'roundedToBfloat16' : 'rope';
  const shapes = [
    { b: 1, t: 1, heads: 1, headSize: 2, rest: 0 },
    { b: 2, t: 5, heads: 3, headSize: 6, rest: 7 },
    { b: 3, t: 33, heads: 4, headSize: 16, rest: 32 },
    { b: 2, t: 19, heads: 3, headSize: 64, rest: 64 },
    { b: 1, t: 9, heads: 2, headSize: 72, rest: 1 },
  ];

  describe(`rope of ${type}`, () => {
    it.each(shapes)('B=$b T=$t, $heads heads of $headSize and $rest numbers', async (shape) => {
      const k = context();
      const { b, t, heads, headSize, rest } = shape;
      const [width, rows] = [heads * headSize + rest, t + 20];
      const { numbers: inp, put } = operand(k, 1, [b, t, width], type);
      const table = rotaryTable(rows, headSize, 10_000);
      const positions = Int32Array.from({ length: b }, (_, i) => 20 - 7 * i);
      const starts = startsOf(Array.from({ length: b }, (_, i) => (t > 4 ? [i + 1, 3, t - i - 4] : [t])));
      const own = { table: k.put([rows, 2, headSize / 2], table), heads };
      const placements = [
        { host: {}, options: {} },
        { host: { positions }, options: { positions: k.put([b], positions) } },
        { host: { starts }, options: { starts: k.put([b, t], starts) } },
        {
          host: { positions, starts },
          options: { positions: k.put([b], positions), starts: k.put([b, t], starts) },
        },
      ];
      for (const [i, { host, options }] of placements.entries()) {
        for (const inverse of [false, true]) {
          const what = `placement ${i}, inverse ${inverse}`;
          const input = { ...host, table, b, t, width, heads, headSize, inverse };
          const expected = reference.rope({ ...input, inp });
          const terms = reference.rope({
            ...input,
            inp: inp.map(Math.abs),
            table: table.map(Math.abs),
            inverse: false,
          });
          // What is subtracted there is the size of a term too.
          const sizes = terms.map((_, j) => Math.abs(inp[j]!) + Math.abs(inp[partnerOf(j, shape, width)]!));
          const [x, out] = [put(), k.out([b, t, width], type)];
          k.engine.rope({ ...own, ...options, inp: x, out, inverse });
          await k.expectClose(out, expected, tolerance, what, sizes);
          const apart = await k.read(out);
          k.engine.rope({ ...own, ...options, inp: x, out: x, inverse });
          expect(await k.read(x), `${what}, in place`).toEqual(apart);
        }
      }
    });

    it('gives a row the bits that it has alone', async () => {
      const k = context();
      const [b, heads, headSize, rows] = [5, 3, 10, 40];
      const width = 4 * headSize;
      const { numbers } = operand(k, 1, [b, 1, width], type);
      const own = { table: k.put([rows, 2, headSize / 2], rotaryTable(rows, headSize, 500)), heads };
      const places = Int32Array.of(7, 0, 39, 7, 12);
      const tensorOf = (values: Float32Array) => (type === 'bfloat16' ? toBfloat16(values) : values);
      const together = k.put([b, 1, width], tensorOf(numbers));
      k.engine.rope({ ...own, inp: together, out: together, positions: k.put([b], places) });
      const all = await k.read(together);
      for (let row = 0; row < b; row++) {
        const slice = numbers.slice(row * width, (row + 1) * width);
        // As the last of several tokens of its sequence, and as its only one.
        const place = places[row]!;
        const before = Math.min(place, 3);
        const sequence = new Float32Array((before + 1) * width).fill(0.5);
        sequence.set(slice, before * width);
        const several = k.put([1, before + 1, width], tensorOf(sequence));
        const alone = k.put([1, 1, width], tensorOf(slice));
        k.engine.rope({ ...own, inp: several, out: several, positions: k.put([1], Int32Array.of(place - before)) });
        k.engine.rope({ ...own, inp: alone, out: alone, positions: k.put([1], Int32Array.of(place)) });
        const expected = all.subarray(row * width, (row + 1) * width);
        expect((await k.read(several)).subarray(before * width), `row ${row} of a sequence`).toEqual(expected);
        expect(await k.read(alone), `row ${row} alone`).toEqual(expected);
      }
    });

    it('refuses what does not fit', () => {
      const k = context();
      const [inp, table] = [k.out([2, 3, 20], type), k.put([4, 2, 4], rotaryTable(4, 8, 100))];
      const options = { inp, out: inp, table, heads: 2 };
      const integers = (...values: number[]) => k.put([values.length], Int32Array.from(values));
      expect(() => k.engine.rope({ ...options, heads: 3 })).toThrow('3 heads of 8');
      expect(() => k.engine.rope({ ...options, out: k.out([2, 3, 21], type) })).toThrow(InvariantError);
      expect(() => k.engine.rope({ ...options, table: k.out([4, 8]) })).toThrow('[positions, 2, HS/2]');
      expect(() => k.engine.rope({ ...options, positions: integers(0, 2) })).toThrow('from 2 to 4');
      expect(() => k.engine.rope({ ...options, positions: integers(-1, 0) })).toThrow('from -1 to 1');
      expect(() => k.engine.rope({ ...options, positions: integers(0) })).toThrow('one for each of 2');
      expect(() => k.engine.rope({ ...options, starts: integers(0, 0, 0, 0, 2, 2) })).toThrow(InvariantError);
    });
  });
}

/** The number that is rotated together with number j of [B, T, width]; itself if it is only copied. */
function partnerOf(j: number, { heads, headSize }: { heads: number; headSize: number }, width: number): number {
  const column = j % width;
  if (column >= heads * headSize) return j;
  return column % headSize < headSize / 2 ? j + headSize / 2 : j - headSize / 2;
}

function gatedCases(context: ContextGetter, type: FloatType): void {
  const isRounded = type === 'bfloat16';
  const shapes = [
    [1, 1],
    [3, 13],
    [1, 4101],
    [129, 96],
    [17, 70],
  ] as const;

  describe(`gated activations of ${type}`, () => {
    describe.each(activationKinds)('%s', (kind) => {
      it.each(shapes)('N=%i I=%i, forward and backward', async (n, inner) => {
        const k = context();
        const { numbers: inp, put } = operand(k, 1, [n, 2 * inner], type);
        const dout = operand(k, 2, [n, inner], type);
        const [x, d] = [put(), dout.put()];
        const [out, dinp] = [k.out([n, inner], type), k.out([n, 2 * inner], type)];
        const input = { kind, inp, n, inner };
        const ones = inp.map(Math.abs);
        // What is rounded is the gate, not what is left of it where 1 + tanh cancels.
        const size = (i: number) => ones[gateOf(i, inner)]! * ones[gateOf(i, inner) + inner]!;
        k.engine.gatedActivationForward({ kind, out, inp: x });
        const forwardName = isRounded ? 'roundedToBfloat16' : 'gatedActivationForward';
        await k.expectClose(
          out,
          reference.gatedForward(input),
          forwardName,
          'out',
          new Float64Array(n * inner).map((_, i) => size(i)),
        );

        const expected = reference.gatedBackward(input, dout.numbers);
        const terms = new Float64Array(2 * n * inner);
        for (let i = 0; i < n * inner; i++) {
          const [gate, magnitude] = [gateOf(i, inner), Math.abs(dout.numbers[i]!)];
          terms[gate] = magnitude * ones[gate + inner]!;
          terms[gate + inner] = magnitude * ones[gate]!;
        }
        const backwardName = isRounded ? 'roundedToBfloat16' : 'gatedActivationBackward';
        k.engine.gatedActivationBackward({ kind, dinp, dout: d, inp: x });
        await k.expectClose(dinp, expected, backwardName, 'dinp', terms);
        const apart = await k.read(dinp);
        k.engine.gatedActivationBackward({ kind, dinp: x, dout: d, inp: x });
        expect(await k.read(x), 'in place').toEqual(apart);
      });

      it('for gates of any size', async () => {
        const k = context();
        const gates = [-1e30, -1000, -30, -0, 0, 30, 1000, 1e30];
        const values = Float32Array.of(...gates, ...gates.map(() => 1));
        const [inp, ones] = [roundedToBfloat16(values), new Float32Array(8).fill(1)];
        const tensorOf = (numbers: Float32Array) => (isRounded ? toBfloat16(numbers) : numbers);
        const [x, d] = [k.put([1, 16], tensorOf(inp)), k.put([1, 8], tensorOf(ones))];
        const [out, dinp] = [k.out([1, 8], type), k.out([1, 16], type)];
        k.engine.gatedActivationForward({ kind, out, inp: x });
        k.engine.gatedActivationBackward({ kind, dinp, dout: d, inp: x });
        const [forward, backward] = [await k.read(out), await k.read(dinp)];
        const clipped = inp.subarray(0, 8).map((gate) => Math.max(gate, 0));
        const slopes = reference.activationBackward(
          kind,
          [0, 0, 0, 0, 0, 30, 30, 30].reduce((array, x, i) => array.fill(x, i, i + 1), new Float64Array(8)),
          new Float64Array(8).fill(1),
        );
        slopes.fill(0, 0, 3);
        for (let i = 0; i < 8; i++) {
          const about = (actual: number, expected: number, what: string) =>
            expect(Math.abs(actual - expected), `${what} at ${gates[i]}`).toBeLessThanOrEqual(1e-5 * (1 + expected));
          about(forward[i]!, clipped[i]!, 'out');
          about(backward[8 + i]!, clipped[i]!, 'the gradient of up');
          about(backward[i]!, slopes[i]!, 'the gradient of the gate');
        }
      });
    });

    it('refuses what does not fit', () => {
      const k = context();
      const kind = 'silu';
      const [x, out, odd] = [k.out([3, 8], type), k.out([3, 4], type), k.out([3, 3], type)];
      expect(() => k.engine.gatedActivationForward({ kind, out: odd, inp: x })).toThrow(InvariantError);
      expect(() => k.engine.gatedActivationForward({ kind, out, inp: odd })).toThrow(InvariantError);
      expect(() => k.engine.gatedActivationBackward({ kind, dinp: out, dout: out, inp: x })).toThrow(InvariantError);
      const unknown = 'sine' as ActivationKind;
      expect(() => k.engine.gatedActivationForward({ kind: unknown, out, inp: x })).toThrow('sine');
    });
  });
}

/** The place in [N, 2I] of the gate of element i of [N, I]. */
function gateOf(i: number, inner: number): number {
  return i + Math.floor(i / inner) * inner;
}
