/**
 * Kernel suite: bfloat16 tensors, for engines that have them. The reference computes with the rounded inputs, so that float32
 * results agree as closely as those of float32 products; a bfloat16 result is rounded once more.
 */
import { describe, expect, it } from 'vitest';
import { activationKinds } from '../../../src/base/activations.ts';
import type { Shape } from '../../../src/engine/tensor.ts';
import { fromBfloat16, roundedToBfloat16, toBfloat16 } from './bfloat16.ts';
import { type ContextGetter, seededDropout, seededValues, sizeOf, smallValues, unevenValues } from './harness.ts';
import { reference } from './sharedReference.ts';

export function bfloat16Cases(context: ContextGetter): void {
  describe('bfloat16', () => {
    it('is kept as it is', async () => {
      const k = context();
      const halves = Uint16Array.from({ length: 77 }, (_, i) => i * 849);
      expect(fromBfloat16(halves)).toEqual(await k.read(k.put([7, 11], halves)));
    });
    elementwiseCases(context);
    linearCases(context);
    epilogueCases(context);
    layerNormCases(context);
    dropoutCases(context);
  });
}

const both = ['float32', 'bfloat16'] as const;
type FloatType = (typeof both)[number];

/** Seeded values as a tensor of this type holds them, and how to put them there. */
function operand(seed: number, shape: Shape, type: FloatType) {
  const columns = shape.at(-1)!;
  const values = unevenValues(seed, sizeOf(shape) / columns, columns);
  const rounded = roundedToBfloat16(values);
  return { shape, data: type === 'bfloat16' ? toBfloat16(values) : values, rounded };
}

const shapes = [
  [1, 1, 1],
  [1, 3, 65],
  [2, 16, 32],
  [13, 3, 7],
  [5, 65, 1],
  [33, 17, 65],
  [64, 96, 129],
  [39, 300, 40],
  [300, 40, 33],
  // Several parts of rows and of columns of a weight's gradient; a weight too deep to be packed at once.
  [9, 1060, 1090],
  [3, 5, 17_000],
] as const;

function linearCases(context: ContextGetter): void {
  const cases = [false, true].flatMap((transposed) => shapes.map(([n, ic, oc]) => ({ n, ic, oc, transposed })));

  describe.each(cases)('linear N=$n IC=$ic OC=$oc, transposed weight $transposed', ({ n, ic, oc, transposed }) => {
    const weight = operand(2, transposed ? [oc, ic] : [ic, oc], 'float32');
    const bias = seededValues(3, oc);
    const weightTransposed = transposed;

    it.each(both)('forward to %s', async (type) => {
      const k = context();
      const inp = operand(1, [n, ic], 'bfloat16');
      const out = k.out([n, oc], type);
      const tensors = { inp: k.put(inp.shape, inp.data), weight: k.put(weight.shape, weight.data) };
      k.engine.linearForward({ ...tensors, weightTransposed, bias: k.put([oc], bias), out });
      const input = { inp: inp.rounded, weight: weight.rounded, bias, n, ic, oc, transposed };
      const tolerance = type === 'float32' ? 'linearForward' : 'roundedToBfloat16';
      const terms = reference.linearForward(reference.withoutSigns(input));
      await k.expectClose(out, reference.linearForward(input), tolerance, 'out', terms);
    });

    it.each([
      ['bfloat16', 'bfloat16', 'float32'],
      ['bfloat16', 'bfloat16', 'bfloat16'],
      ['bfloat16', 'float32', 'bfloat16'],
      ['float32', 'bfloat16', 'float32'],
    ] as const)('backward, inp %s, dout %s, dinp %s', async (inpType, doutType, dinpType) => {
      const k = context();
      const [inp, dout] = [operand(1, [n, ic], inpType), operand(4, [n, oc], doutType)];
      const tensors = {
        inp: k.put(inp.shape, inp.data),
        dout: k.put(dout.shape, dout.data),
        weight: k.put(weight.shape, weight.data),
        weightTransposed,
      };
      const initial = { dweight: smallValues(6, ic * oc), dbias: smallValues(7, oc) };
      const [dweight, dbias] = [k.put(weight.shape, initial.dweight), k.put([oc], initial.dbias)];
      const dinp = k.out([n, ic], dinpType);
      const input = { inp: inp.rounded, weight: weight.rounded, bias, n, ic, oc, transposed };
      const expected = reference.linearBackward(input, dout.rounded);
      const made = reference.linearBackward(reference.withoutSigns(input), dout.rounded.map(Math.abs));
      const tolerance = dinpType === 'float32' ? 'linearBackward' : 'roundedToBfloat16';

      k.engine.linearBackward({ ...tensors, dinp, dweight, dbias });
      await k.expectClose(dinp, expected.dinp, tolerance, 'dinp', made.dinp);
      await k.expectAccumulated(dweight, initial.dweight, expected.dweight, 'linearBackward', 'dweight', made.dweight);
      await k.expectAccumulated(dbias, initial.dbias, expected.dbias, 'linearBackward', 'dbias', made.dbias);

      k.engine.linearBackward({ ...tensors, dinp, accumulate: true, dweight });
      const twice = (values: Float64Array) => values.map((x) => 2 * x);
      await k.expectClose(dinp, twice(expected.dinp), tolerance, 'dinp, accumulated', twice(made.dinp));
      const [sum, terms] = [twice(expected.dweight), twice(made.dweight)];
      await k.expectAccumulated(dweight, initial.dweight, sum, 'linearBackward', 'dweight, the second time', terms);
    });
  });
}

/** Each adds or multiplies in float32, and rounds once. */
function elementwiseCases(context: ContextGetter): void {
  const shape = [5, 131];
  const [a, b] = [operand(1, shape, 'bfloat16'), operand(2, shape, 'bfloat16')];

  it('adds, in place too, and copies', async () => {
    const k = context();
    const [x, y, out] = [k.put(shape, a.data), k.put(shape, b.data), k.out(shape, 'bfloat16')];
    const sum = roundedToBfloat16(a.rounded.map((value, i) => value + b.rounded[i]!));
    k.engine.add({ out, a: x, b: y });
    expect(await k.read(out)).toEqual(sum);
    k.engine.add({ out: x, a: x, b: y });
    expect(await k.read(x)).toEqual(sum);
    k.engine.copy({ out: x, inp: y });
    expect(await k.read(x)).toEqual(b.rounded);
    expect(() => k.engine.add({ out, a: x, b: k.out(shape) })).toThrow('one type');
    expect(() => k.engine.copy({ out, inp: k.out(shape) })).toThrow('one type');
  });

  const sizes = ({ rounded }: { rounded: Float32Array }) => rounded.map(Math.abs);

  it.each(activationKinds)('%s alone', async (kind) => {
    const k = context();
    const [x, dout, out] = [k.put(shape, a.data), k.put(shape, b.data), k.out(shape, 'bfloat16')];
    k.engine.activationForward({ kind, out, inp: x });
    await k.expectClose(out, reference.activationForward(kind, a.rounded), 'roundedToBfloat16', 'out', sizes(a));
    k.engine.activationBackward({ kind, dinp: dout, dout, inp: x });
    const expected = reference.activationBackward(kind, a.rounded, b.rounded);
    await k.expectClose(dout, expected, 'roundedToBfloat16', 'dinp = dout', sizes(b));
    expect(() => k.engine.activationForward({ kind, out: k.out(shape), inp: x })).toThrow('one type');
  });

  it.each(both)('dropout of bfloat16 to %s', async (type) => {
    const k = context();
    const dropout = seededDropout(9, 0.3);
    const expected = reference.dropoutMask(dropout, 5, 131).map((factor, i) => factor * a.rounded[i]!);
    const x = k.put(shape, a.data);
    const out = type === 'bfloat16' ? x : k.out(shape, type);
    k.engine.dropout({ out, inp: x, dropout });
    await k.expectClose(
      out,
      expected,
      type === 'bfloat16' ? 'roundedToBfloat16' : 'dropout',
      'out',
      expected.map(Math.abs),
    );
  });

  it('a bias alone, from an output gradient of bfloat16', async () => {
    const k = context();
    const dbias = k.zeros([131]);
    const operands = { inp: k.out([5, 7], 'bfloat16'), weight: k.out([7, 131]) };
    k.engine.linearBackward({ ...operands, dout: k.put(shape, a.data), dbias });
    const [expected, made] = [new Float64Array(131), new Float64Array(131)];
    a.rounded.forEach((value, i) => {
      expected[i % 131]! += value;
      made[i % 131]! += Math.abs(value);
    });
    await k.expectClose(dbias, expected, 'linearBackward', 'dbias', made);
  });
}

function epilogueCases(context: ContextGetter): void {
  const cases = [
    { n: 1, ic: 1, oc: 1 },
    { n: 31, ic: 17, oc: 65 },
    { n: 60, ic: 300, oc: 130 },
  ];

  describe.each(cases)('linear N=$n IC=$ic OC=$oc', ({ n, ic, oc }) => {
    const [inp, weight] = [operand(1, [n, ic], 'bfloat16'), operand(2, [ic, oc], 'float32')];
    const bias = seededValues(3, oc);
    const input = { inp: inp.rounded, weight: weight.rounded, bias, n, ic, oc, transposed: false };
    const y = reference.linearForward(input);
    const terms = reference.linearForward(reference.withoutSigns(input));

    it.each(activationKinds)('%s forward and backward', async (kind) => {
      const k = context();
      const tensors = { inp: k.put(inp.shape, inp.data), weight: k.put(weight.shape, weight.data) };
      const [out, preActivation] = [k.out([n, oc], 'bfloat16'), k.out([n, oc], 'bfloat16')];
      k.engine.linearForward({ ...tensors, bias: k.put([oc], bias), out, activation: { kind, preActivation } });
      const expected = reference.linearEpilogue(y, { activation: kind }).out;
      await k.expectClose(preActivation, y, 'roundedToBfloat16', 'preActivation', terms);
      await k.expectClose(out, expected, 'roundedToBfloat16', 'out', terms);

      const dout = operand(4, [n, oc], 'bfloat16');
      const before = operand(10, [n, ic], 'bfloat16');
      const dinp = k.out([n, ic], 'bfloat16');
      k.engine.linearBackward({
        ...tensors,
        dout: k.put(dout.shape, dout.data),
        dinp,
        dinpActivation: { kind, preActivation: k.put(before.shape, before.data) },
        dweight: k.put(weight.shape, new Float32Array(ic * oc)),
      });
      const { dinp: dsum } = reference.linearBackward(input, dout.rounded);
      const dpre = reference.activationBackward(kind, before.rounded, dsum);
      const made = reference.linearBackward(reference.withoutSigns(input), dout.rounded.map(Math.abs));
      await k.expectClose(dinp, dpre, 'roundedToBfloat16', 'dinp', made.dinp);
    });

    it.each(both)('a residual of %s with dropout, in place', async (type) => {
      const k = context();
      const residual = operand(8, [n, oc], type);
      const dropout = seededDropout(9, 0.3);
      const out = k.put([n, oc], residual.data);
      const tensors = { inp: k.put(inp.shape, inp.data), weight: k.put(weight.shape, weight.data) };
      k.engine.linearForward({ ...tensors, bias: k.put([oc], bias), out, residual: out, dropout });
      const mask = reference.dropoutMask(dropout, n, oc);
      // The float32 residual is not rounded as an operand of the product is.
      const kept = type === 'bfloat16' ? residual.rounded : unevenValues(8, n, oc);
      const expected = reference.linearEpilogue(y, { residual: kept, mask }).out;
      const made = reference.linearEpilogue(terms, { residual: kept.map(Math.abs), mask }).out;
      await k.expectClose(out, expected, type === 'float32' ? 'linearForward' : 'roundedToBfloat16', 'out', made);
    });
  });
}

function layerNormCases(context: ContextGetter): void {
  it.each([
    { n: 1, c: 3 },
    { n: 13, c: 65 },
    { n: 129, c: 96 },
  ])('layer norm N=$n C=$c', async ({ n, c }) => {
    const k = context();
    const eps = 1e-5;
    const [inpValues, weightValues, bias] = [seededValues(1, n * c), seededValues(2, c), seededValues(3, c)];
    const input = { inp: inpValues, weight: weightValues, bias, n, c, eps };
    const [inp, weight] = [k.put([n, c], inpValues), k.put([c], weightValues)];
    const [out, mean, rstd] = [k.out([n, c], 'bfloat16'), k.out([n]), k.out([n])];
    const terms = reference.layerNormForwardTerms(input);
    k.engine.layerNormForward({ out, mean, rstd, inp, weight, bias: k.put([c], bias), eps });
    await k.expectClose(out, reference.layerNormForward(input).out, 'roundedToBfloat16', 'out', terms);

    const dout = operand(4, [n, c], 'bfloat16');
    const expected = reference.layerNormBackward(input, dout.rounded);
    const [dinp, dweight, dbias] = [k.out([n, c]), k.put([c], new Float32Array(c)), k.put([c], new Float32Array(c))];
    k.engine.layerNormBackward({ dinp, dweight, dbias, dout: k.put([n, c], dout.data), inp, weight, mean, rstd });
    const made = reference.layerNormBackwardTerms(input, dout.rounded);
    await k.expectClose(dinp, expected.dinp, 'layerNormBackward', 'dinp', made.dinp);
    await k.expectClose(dweight, expected.dweight, 'layerNormBackward', 'dweight', made.dweight);
    await k.expectClose(dbias, expected.dbias, 'layerNormBackward', 'dbias', made.dbias);
  });
}

function dropoutCases(context: ContextGetter): void {
  it('dropout', async () => {
    const k = context();
    const inp = seededValues(1, 5 * 131);
    const dropout = seededDropout(9, 0.3);
    const out = k.out([5, 131], 'bfloat16');
    k.engine.dropout({ out, inp: k.put([5, 131], inp), dropout });
    const expected = reference.dropoutMask(dropout, 5, 131).map((factor, i) => factor * inp[i]!);
    await k.expectClose(out, expected, 'roundedToBfloat16', 'out', expected.map(Math.abs));
  });
}
