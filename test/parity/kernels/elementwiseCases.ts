/** Kernel suite: add, dropout, activations, and the embedding. */
import { describe, expect, it } from 'vitest';
import { type ActivationKind, activationKinds } from '../../../src/base/activations.ts';
import { InvariantError } from '../../../src/base/errors.ts';
import type { Tensor } from '../../../src/engine/tensor.ts';
import {
  type ContextGetter,
  seededDropout,
  seededIntegers,
  seededValues,
  sizeOf,
  smallValues,
  unevenValues,
} from './harness.ts';
import { reference } from './sharedReference.ts';

export function elementwiseCases(context: ContextGetter): void {
  describe('add and zero', () => {
    it.each([[1], [3, 5, 7], [3, 33_337]])('adds [%s, …]', async (...shape) => {
      const k = context();
      const [a, b] = [seededValues(1, sizeOf(shape)), seededValues(2, sizeOf(shape))];
      const out = k.out(shape);
      k.engine.add({ out, a: k.put(shape, a), b: k.put(shape, b) });
      await k.expectClose(
        out,
        Float64Array.from(a, (x, i) => x + b[i]!),
        'add',
        'out',
        a.map((x, i) => Math.abs(x) + Math.abs(b[i]!)),
      );
    });

    it('adds in place, into a and into b', async () => {
      const k = context();
      const [a, b] = [seededValues(1, 77), seededValues(2, 77)];
      const expected = Float64Array.from(a, (x, i) => x + b[i]!);
      const [first, second] = [k.put([77], a), k.put([77], b)];
      k.engine.add({ out: first, a: first, b: second });
      await k.expectClose(first, expected, 'add', 'out = a');
      await k.expectClose(second, Float64Array.from(b), 'add', 'b stays');
      const third = k.put([77], a);
      k.engine.add({ out: second, a: third, b: second });
      await k.expectClose(second, expected, 'add', 'out = b');
    });

    it('copies', async () => {
      const k = context();
      const values = seededValues(1, 3 * 33_337);
      const [inp, out] = [k.put([3, 33_337], values), k.out([3, 33_337])];
      k.engine.copy({ out, inp });
      k.engine.zero(inp);
      expect(await k.read(out)).toEqual(values);
    });

    it('copies to the start of a larger tensor', async () => {
      const k = context();
      const [values, more] = [seededValues(1, 3 * 37), seededValues(2, 5 * 37)];
      const [inp, out] = [k.put([3, 37], values), k.put([5, 37], more)];
      k.engine.copy({ out, inp });
      expect(await k.read(out)).toEqual(Float32Array.of(...values, ...more.subarray(3 * 37)));
      expect(() => k.engine.copy({ out: inp, inp: out })).toThrow('inp');
    });

    it('zeroes', async () => {
      const k = context();
      const tensor = k.out([5, 9]);
      k.engine.zero(tensor);
      expect(await k.read(tensor)).toEqual(new Float32Array(45));
    });

    it('zeroes tokens, which select row 0 then', async () => {
      const k = context();
      const tokens = k.put([1, 2], Int32Array.of(3, 1));
      k.engine.zero(tokens);
      const out = k.out([1, 2, 2]);
      k.engine.embeddingForward({ out, tokens, wte: k.put([4, 2], Float32Array.of(5, 6, 1, 1, 1, 1, 1, 1)) });
      expect(await k.read(out)).toEqual(Float32Array.of(5, 6, 5, 6));
    });
  });

  describe('dropout', () => {
    const rate = 0.3;
    it.each([
      [1, 1],
      [3, 65],
      [4, 20_011],
    ])('of %i samples of %i elements: the mask of base/counterRandom.ts', async (samples, perSample) => {
      const k = context();
      const shape = [samples, perSample];
      const dropout = seededDropout(7, rate);
      const inp = seededValues(1, sizeOf(shape));
      const expected = reference.dropoutMask(dropout, samples, perSample).map((factor, i) => factor * inp[i]!);
      const out = k.out(shape);
      k.engine.dropout({ out, inp: k.put(shape, inp), dropout });
      await k.expectClose(out, expected, 'dropout', 'out', expected.map(Math.abs));
      const dropped = await k.read(out);
      expect(dropped.every((value, i) => (value === 0) === (expected[i] === 0))).toBe(true);
    });

    it('in place, and with rate 0', async () => {
      const k = context();
      const shape = [2, 5, 7];
      const dropout = seededDropout(8, rate);
      const inp = seededValues(1, 70);
      const expected = reference.dropoutMask(dropout, 2, 35).map((factor, i) => factor * inp[i]!);
      const inPlace = k.put(shape, inp);
      k.engine.dropout({ out: inPlace, inp: inPlace, dropout });
      await k.expectClose(inPlace, expected, 'dropout', 'out = inp');
      const all = k.out(shape);
      k.engine.dropout({ out: all, inp: k.put(shape, inp), dropout: { ...dropout, rate: 0 } });
      await k.expectClose(all, inp, 'dropout', 'rate 0');
    });
  });

  it('dropout compares with the rate itself, not with a rounded one', async () => {
    // The 24 random bits of this element are 0.7 rounded down to float32.
    const k = context();
    const size = 870_345;
    const out = k.out([1, size]);
    const dropout = { rate: 0.7, seed: 1, step: 1, firstSample: 3, site: 3 };
    k.engine.dropout({ out, inp: k.put([1, size], new Float32Array(size).fill(1)), dropout });
    expect((await k.read(out)).at(-1)).toBe(0);
  });

  describe.each(activationKinds)('%s', (kind) => {
    it.each([[1], [3, 13], [2, 3, 6_007]])('forward and backward of [%s, …]', async (...shape) => {
      const k = context();
      const inp = seededValues(1, sizeOf(shape)).map((x) => 6 * x);
      const dout = seededValues(2, inp.length);
      const x = k.put(shape, inp);
      const [out, dinp, inPlace] = [k.out(shape), k.out(shape), k.put(shape, dout)];
      k.engine.activationForward({ kind, out, inp: x });
      // Where tanh is nearly -1, 1 + tanh cancels: what remains is rounded as the input is.
      const terms = inp.map(Math.abs);
      await k.expectClose(out, reference.activationForward(kind, inp), 'activationForward', 'out', terms);
      const expected = reference.activationBackward(kind, inp, dout);
      k.engine.activationBackward({ kind, dinp, dout: k.put(shape, dout), inp: x });
      await k.expectClose(dinp, expected, 'activationBackward', 'dinp', dout.map(Math.abs));
      k.engine.activationBackward({ kind, dinp: inPlace, dout: inPlace, inp: x });
      await k.expectClose(inPlace, expected, 'activationBackward', 'dinp = dout', dout.map(Math.abs));
    });

    it('saturates for large inputs', async () => {
      const k = context();
      const inp = Float32Array.of(-1000, -30, -0, 0, 30, 1000);
      const [out, dinp, x] = [k.out([6]), k.out([6]), k.put([6], inp)];
      k.engine.activationForward({ kind, out, inp: x });
      k.engine.activationBackward({ kind, dinp, dout: k.put([6], new Float32Array(6).fill(1)), inp: x });
      await k.expectClose(out, Float32Array.of(0, 0, 0, 0, 30, 1000), 'activationForward', 'out');
      const [atZero] = reference.activationBackward(kind, Float64Array.of(0), Float64Array.of(1)) as unknown as [
        number,
      ];
      await k.expectClose(dinp, Float32Array.of(0, 0, atZero, atZero, 1, 1), 'activationBackward', 'dinp');
    });

    it('is 0 for inputs far below 0, and the input far above', async () => {
      const k = context();
      const negative = Float32Array.of(-80, -100, -1e4, -2e4, -1e15, -1e25, -1e30, -1e32, -1e38, -3e38);
      const [below, zeros] = [k.put([10], negative), k.out([10])];
      k.engine.activationForward({ kind, out: zeros, inp: below });
      for (const [i, value] of (await k.read(zeros)).entries()) {
        expect(Math.abs(value), `${kind}(${negative[i]})`).toBeLessThan(1e-30);
      }
      const positive = Float32Array.of(80, 100, 1e15, 1e30, 1e38);
      const [above, same] = [k.put([5], positive), k.out([5])];
      k.engine.activationForward({ kind, out: same, inp: above });
      expect(await k.read(same)).toEqual(positive);
    });

    it('has the slope 0 or 1 where powers of the input overflow', async () => {
      const k = context();
      const [x, dinp] = [k.put([4], Float32Array.of(-1e20, -1e15, 1e15, 1e20)), k.out([4])];
      k.engine.activationBackward({ kind, dinp, dout: k.put([4], new Float32Array(4).fill(1)), inp: x });
      await k.expectClose(dinp, Float32Array.of(0, 0, 1, 1), 'activationBackward', 'dinp');
    });
  });

  describe('activations', () => {
    it('are different from one another, alone and after a linear layer', async () => {
      const k = context();
      const inp = seededValues(1, 64).map((x) => 3 * x);
      const [x, one] = [k.put([64, 1], inp), k.put([1, 1], Float32Array.of(1))];
      const results = new Map<string, ActivationKind>();
      for (const kind of activationKinds) {
        const [alone, fused, dinp] = [k.out([64, 1]), k.out([64, 1]), k.out([64, 1])];
        k.engine.activationForward({ kind, out: alone, inp: x });
        k.engine.linearForward({ inp: x, weight: one, out: fused, activation: { kind } });
        k.engine.activationBackward({ kind, dinp, dout: k.put([64, 1], new Float32Array(64).fill(1)), inp: x });
        const expected = reference.activationForward(kind, inp);
        await k.expectClose(alone, expected, 'activationForward', `${kind} alone`, 3);
        await k.expectClose(fused, expected, 'linearForward', `${kind} fused`, 3);
        const key = [...(await k.read(alone)), ...(await k.read(dinp))].map((value) => value.toFixed(3)).join();
        expect(results.get(key), `${kind} is computed as another`).toBeUndefined();
        results.set(key, kind);
      }
    });

    it('of an unknown kind are refused', () => {
      const k = context();
      const kind = 'sine' as ActivationKind;
      const [x, out, weight] = [k.out([2, 2]), k.out([2, 2]), k.out([2, 2])];
      expect(() => k.engine.activationForward({ kind, out, inp: x })).toThrow('sine');
      expect(() => k.engine.activationBackward({ kind, dinp: out, dout: out, inp: x })).toThrow('sine');
      expect(() => k.engine.linearForward({ inp: x, weight, out, activation: { kind } })).toThrow('sine');
    });
  });

  embeddingCases(context);
}

function embeddingCases(context: ContextGetter): void {
  describe('embedding', () => {
    const cases = [
      { b: 1, t: 1, c: 1, v: 7, positions: 1 },
      { b: 2, t: 13, c: 3, v: 7, positions: 16 },
      { b: 3, t: 5, c: 65, v: 50, positions: 5 },
      { b: 4, t: 64, c: 96, v: 301, positions: 64 },
      { b: 5, t: 100, c: 20, v: 3, positions: 100 }, // many rows of each token
    ];
    it.each(cases)('B=$b T=$t C=$c V=$v, forward and backward', async ({ b, t, c, v, positions }) => {
      const k = context();
      const input = { tokens: seededIntegers(1, b * t, v), b, t, c };
      const [wte, wpe, dout] = [unevenValues(2, v, c), seededValues(3, positions * c), unevenValues(4, b * t, c)];
      const [dwte, dwpe] = [smallValues(5, v * c), smallValues(6, positions * c)];
      const tokens = k.put([b, t], input.tokens);
      const tables = { wte: k.put([v, c], wte), wpe: k.put([positions, c], wpe) };
      const gradients = { dwte: k.put([v, c], dwte), dwpe: k.put([positions, c], dwpe) };
      const out = k.out([b, t, c]);
      k.engine.embeddingForward({ out, tokens, ...tables });
      const terms = reference.embeddingForward(input, wte.map(Math.abs), wpe.map(Math.abs));
      await k.expectClose(out, reference.embeddingForward(input, wte, wpe), 'embeddingForward', 'out', terms);
      k.engine.embeddingBackward({ dout: k.put([b, t, c], dout), tokens, ...gradients });
      const expected = reference.embeddingBackward(input, dout, { v, positions });
      const made = reference.embeddingBackward(input, dout.map(Math.abs), { v, positions });
      await k.expectAccumulated(gradients.dwte, dwte, expected.dwte, 'embeddingBackward', 'dwte', made.dwte);
      await k.expectAccumulated(gradients.dwpe, dwpe, expected.dwpe, 'embeddingBackward', 'dwpe', made.dwpe);
    });

    it('without positions, and with a scale and from a later position', async () => {
      const k = context();
      const [b, t, c, v, positions, positionOffset, scale] = [2, 3, 5, 7, 9, 4, 2.5];
      const input = { tokens: seededIntegers(1, b * t, v), b, t, c };
      const [wte, wpe, dout] = [seededValues(2, v * c), seededValues(3, positions * c), seededValues(4, b * t * c)];
      const [tokens, wteTensor] = [k.put([b, t], input.tokens), k.put([v, c], wte)];
      const [plain, shifted] = [k.out([b, t, c]), k.out([b, t, c])];
      const dwte: Tensor = k.put([v, c], new Float32Array(v * c));
      k.engine.embeddingForward({ out: plain, tokens, wte: wteTensor });
      await k.expectClose(plain, reference.embeddingForward(input, wte), 'embeddingForward', 'no wpe');
      k.engine.embeddingForward({
        out: shifted,
        tokens,
        wte: wteTensor,
        wpe: k.put([positions, c], wpe),
        positionOffset,
        scale,
      });
      const expected = reference.embeddingForward(input, wte, wpe, positionOffset, scale);
      await k.expectClose(shifted, expected, 'embeddingForward', 'positionOffset');
      k.engine.embeddingBackward({ dout: k.put([b, t, c], dout), tokens, dwte, scale });
      const gradients = reference.embeddingBackward(input, dout, { v, positions, scale });
      await k.expectClose(dwte, gradients.dwte, 'embeddingBackward', 'dwte without wpe');
      const dwpe = k.zeros([positions, c]);
      k.engine.embeddingBackward({ dout: k.put([b, t, c], dout), tokens, dwpe, scale });
      await k.expectClose(dwpe, gradients.dwpe, 'embeddingBackward', 'dwpe without wte');
      expect(() => k.engine.embeddingBackward({ dout: k.out([b, t, c]), tokens })).toThrow(InvariantError);
    });

    it('gives the same bits twice', async () => {
      const k = context();
      const [b, t, c, v] = [4, 100, 17, 5];
      const tokens = k.put([b, t], seededIntegers(1, b * t, v));
      const dout = k.put([b, t, c], seededValues(2, b * t * c));
      const runs: Float32Array[] = [];
      for (let run = 0; run < 2; run++) {
        const dwte = k.put([v, c], new Float32Array(v * c));
        k.engine.embeddingBackward({ dout, tokens, dwte });
        runs.push(await k.read(dwte));
      }
      expect(runs[1]).toEqual(runs[0]);
    });
  });
}
