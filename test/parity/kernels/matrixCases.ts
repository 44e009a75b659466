/** Kernel suite: linear, with what it does after its product, and layer norm. */
import { describe, expect, it } from 'vitest';
import { activationKinds } from '../../../src/base/activations.ts';
import { InvariantError } from '../../../src/base/errors.ts';
import {
  type ContextGetter,
  type KernelContext,
  seededDropout,
  seededValues,
  smallValues,
  unevenValues,
} from './harness.ts';
import { reference } from './sharedReference.ts';

export function matrixCases(context: ContextGetter): void {
  linearCases(context);
  epilogueCases(context);
  layerNormCases(context);
}

function linearInputs({ n, ic, oc, transposed }: { n: number; ic: number; oc: number; transposed: boolean }) {
  return {
    inp: unevenValues(1, n, ic),
    weight: seededValues(2, ic * oc),
    bias: seededValues(3, oc),
    dout: unevenValues(4, n, oc),
    n,
    ic,
    oc,
    transposed,
  };
}

function putLinear(k: KernelContext, input: ReturnType<typeof linearInputs>) {
  const { n, ic, oc, transposed } = input;
  const weight = k.put(transposed ? [oc, ic] : [ic, oc], input.weight);
  return {
    inp: k.put([n, ic], input.inp),
    weight,
    ...(transposed && { weightTransposed: true }),
  };
}

function linearCases(context: ContextGetter): void {
  const shapes = [
    [1, 1, 1],
    [1, 3, 65],
    [1, 64, 96],
    [1, 500, 601],
    [2, 331, 700],
    [3, 200, 1100],
    [4, 97, 2051],
    [2, 16, 32],
    [13, 3, 7],
    [5, 65, 1],
    [33, 17, 65],
    [14, 64, 64],
    [64, 96, 288],
    [97, 131, 257],
    [200, 300, 520],
    [31, 600, 129],
  ] as const;
  const cases = [false, true].flatMap((transposed) => shapes.map(([n, ic, oc]) => ({ n, ic, oc, transposed })));

  describe('linear', () => {
    it.each([
      [2, 5, 4],
      [5, 100, 530],
      [8, 192, 300],
      [23, 97, 17],
      [50, 96, 1030],
    ])('gives each row of %i the bits that it has alone, IC %i, OC %i', async (n, ic, oc) => {
      const k = context();
      for (const transposed of [false, true]) {
        const input = linearInputs({ n, ic, oc, transposed });
        const { inp, weight } = putLinear(k, input);
        const [bias, out] = [k.put([oc], input.bias), k.out([n, oc])];
        const options = {
          weight,
          weightTransposed: transposed,
          bias,
          activation: { kind: 'gelu' as const },
          rowsApart: true,
        };
        k.engine.linearForward({ ...options, inp, out });
        const together = await k.read(out);
        for (let row = 0; row < n; row++) {
          const one = k.out([1, oc]);
          k.engine.linearForward({
            ...options,
            inp: k.put([1, ic], input.inp.slice(row * ic, (row + 1) * ic)),
            out: one,
          });
          expect(together.slice(row * oc, (row + 1) * oc), `row ${row}`).toEqual(await k.read(one));
        }
      }
    });

    it.each(cases)('N=$n IC=$ic OC=$oc, transposed weight $transposed', async (shape) => {
      const k = context();
      const input = linearInputs(shape);
      const { n, ic, oc } = shape;
      const operands = putLinear(k, input);
      const [plain, biased] = [k.out([n, oc]), k.out([n, oc])];
      k.engine.linearForward({ ...operands, out: plain });
      k.engine.linearForward({ ...operands, out: biased, bias: k.put([oc], input.bias) });
      const sizes = reference.withoutSigns(input);
      const unbiased = { ...input, bias: undefined };
      const unbiasedTerms = reference.linearForward({ ...sizes, bias: undefined });
      await k.expectClose(plain, reference.linearForward(unbiased), 'linearForward', 'no bias', unbiasedTerms);
      const terms = reference.linearForward(sizes);
      await k.expectClose(biased, reference.linearForward(input), 'linearForward', 'with bias', terms);

      const dout = k.put([n, oc], input.dout);
      const initial = { dinp: smallValues(5, n * ic), dweight: smallValues(6, ic * oc), dbias: smallValues(7, oc) };
      const dweight = k.put(operands.weight.shape, initial.dweight);
      const dbias = k.put([oc], initial.dbias);
      const [assigned, accumulated] = [k.out([n, ic]), k.put([n, ic], initial.dinp)];
      const expected = reference.linearBackward(input, input.dout);
      const made = reference.linearBackward(sizes, sizes.dout);
      k.engine.linearBackward({ ...operands, dout, dinp: assigned, dweight, dbias });
      await k.expectClose(assigned, expected.dinp, 'linearBackward', 'dinp', made.dinp);
      await k.expectAccumulated(dweight, initial.dweight, expected.dweight, 'linearBackward', 'dweight', made.dweight);
      await k.expectAccumulated(dbias, initial.dbias, expected.dbias, 'linearBackward', 'dbias', made.dbias);

      k.engine.linearBackward({ ...operands, dout, dinp: accumulated, accumulate: true, dweight });
      const again = 'dinp, accumulated';
      await k.expectAccumulated(accumulated, initial.dinp, expected.dinp, 'linearBackward', again, made.dinp);
      const [twice, madeTwice] = [expected.dweight, made.dweight].map((values) => values.map((x) => 2 * x)) as [
        Float64Array,
        Float64Array,
      ];
      const second = 'dweight, the second time';
      await k.expectAccumulated(dweight, initial.dweight, twice, 'linearBackward', second, madeTwice);
    });

    it.each(gradientSubsets(['dinp', 'dweight', 'dbias']))('gives %s alone', async (...names) => {
      const k = context();
      for (const transposed of [false, true]) {
        const [n, ic, oc] = [33, 17, 65];
        const input = linearInputs({ n, ic, oc, transposed });
        const operands = putLinear(k, input);
        const expected = reference.linearBackward(input, input.dout);
        const shapes = { dinp: [n, ic], dweight: operands.weight.shape, dbias: [oc] };
        const gradients = Object.fromEntries(names.map((name) => [name, k.zeros(shapes[name])]));
        k.engine.linearBackward({ ...operands, dout: k.put([n, oc], input.dout), ...gradients });
        const made = reference.linearBackward(reference.withoutSigns(input), input.dout.map(Math.abs));
        for (const name of names) {
          await k.expectClose(gradients[name]!, expected[name], 'linearBackward', name, made[name]);
        }
        expect(() => k.engine.linearBackward({ ...operands, dout: k.out([n, oc]) })).toThrow(InvariantError);
      }
    });

    it('flattens leading dimensions, and leaves dinp out when it is not asked for', async () => {
      const k = context();
      const input = linearInputs({ n: 6, ic: 5, oc: 4, transposed: false });
      const [inp, weight] = [k.put([2, 3, 5], input.inp), k.put([5, 4], input.weight)];
      const [out, dweight] = [k.out([2, 3, 4]), k.put([5, 4], new Float32Array(20))];
      k.engine.linearForward({ out, inp, weight, bias: k.put([4], input.bias) });
      const sizes = reference.withoutSigns(input);
      const terms = reference.linearForward(sizes);
      await k.expectClose(out, reference.linearForward(input), 'linearForward', 'out', terms);
      k.engine.linearBackward({ inp, weight, dout: k.put([2, 3, 4], input.dout), dweight });
      const expected = reference.linearBackward(input, input.dout).dweight;
      const made = reference.linearBackward(sizes, sizes.dout).dweight;
      await k.expectClose(dweight, expected, 'linearBackward', 'dweight', made);
    });
  });
}

/** What a linear layer does after its product, in every combination of options. */
function epilogueCases(context: ContextGetter): void {
  const shapes = [
    [1, 1, 1],
    [2, 5, 33],
    [14, 64, 96],
    [31, 17, 65],
    [60, 300, 130],
  ] as const;
  const cases = [false, true].flatMap((transposed) =>
    shapes.flatMap(([n, ic, oc]) => [false, true].map((biased) => ({ n, ic, oc, transposed, biased }))),
  );

  describe.each(cases)('linear N=$n IC=$ic OC=$oc, transposed weight $transposed, bias $biased', (shape) => {
    const { n, ic, oc, biased } = shape;
    const input = { ...linearInputs(shape), ...(biased ? {} : { bias: undefined }) };
    const put = (k: KernelContext) => ({
      ...putLinear(k, linearInputs(shape)),
      ...(input.bias && { bias: k.put([oc], input.bias) }),
    });

    it.each(activationKinds)('%s, the sum saved or not', async (kind) => {
      const k = context();
      const y = reference.linearForward(input);
      const expected = reference.linearEpilogue(y, { activation: kind });
      const [out, alone, preActivation] = [k.out([n, oc]), k.out([n, oc]), k.out([n, oc])];
      k.engine.linearForward({ ...put(k), out, activation: { kind, preActivation } });
      k.engine.linearForward({ ...put(k), out: alone, activation: { kind } });
      // An activation is at most as large as its input, and hardly steeper than 1.
      const terms = reference.linearForward(reference.withoutSigns(input));
      await k.expectClose(preActivation, y, 'linearForward', 'preActivation', terms);
      await k.expectClose(out, expected.out, 'linearForward', 'out', terms);
      expect(await k.read(alone)).toEqual(await k.read(out));
    });

    it('the residual, with dropout and without, in place and not', async () => {
      const k = context();
      const y = reference.linearForward(input);
      const values = unevenValues(8, n, oc);
      const yTerms = reference.linearForward(reference.withoutSigns(input));
      for (const samples of [0, 1, n]) {
        const dropout = seededDropout(9, 0.3);
        const mask = samples > 0 ? reference.dropoutMask(dropout, samples, (n * oc) / samples) : undefined;
        const expected = reference.linearEpilogue(y, { residual: values, mask }).out;
        // A sample is what the leading dimension counts.
        const outShape = samples === 1 ? [1, n, oc] : [n, oc];
        const [residual, inPlace, out] = [k.put(outShape, values), k.put(outShape, values), k.out(outShape)];
        const options = { ...put(k), ...(samples > 0 && { dropout }) };
        k.engine.linearForward({ ...options, out, residual });
        k.engine.linearForward({ ...options, out: inPlace, residual: inPlace });
        const terms = reference.linearEpilogue(yTerms, { residual: values.map(Math.abs), mask }).out;
        await k.expectClose(out, expected, 'linearForward', `residual, dropout of ${samples} samples`, terms);
        await k.expectClose(residual, values, 'linearForward', 'the residual stays', values.map(Math.abs));
        expect(await k.read(inPlace)).toEqual(await k.read(out));
      }
    });

    it.each(activationKinds)('dinp through %s', async (kind) => {
      const k = context();
      const { bias: _, ...operands } = put(k);
      const preValues = seededValues(10, n * ic).map((x) => 4 * x);
      const expected = reference.linearBackward(input, input.dout);
      const dweight = k.put(operands.weight.shape, new Float32Array(ic * oc));
      const dbias = biased ? { dbias: k.put([oc], new Float32Array(oc)) } : {};
      const dinpActivation = { kind, preActivation: k.put([n, ic], preValues) };
      const dinp = k.out([n, ic]);
      k.engine.linearBackward({
        ...operands,
        dout: k.put([n, oc], input.dout),
        dinp,
        dinpActivation,
        dweight,
        ...dbias,
      });
      const dpre = reference.activationBackward(kind, preValues, expected.dinp);
      const made = reference.linearBackward(reference.withoutSigns(input), input.dout.map(Math.abs));
      await k.expectClose(dinp, dpre, 'linearBackward', 'dinp', made.dinp);
      await k.expectClose(dweight, expected.dweight, 'linearBackward', 'dweight', made.dweight);
      if (dbias.dbias) await k.expectClose(dbias.dbias, expected.dbias, 'linearBackward', 'dbias', made.dbias);
    });
  });

  it('options that exclude each other are an InvariantError', () => {
    const k = context();
    const [inp, weight, out] = [k.out([2, 3]), k.out([3, 4]), k.out([2, 4])];
    const [dinp, dweight] = [k.out([2, 3]), k.out([3, 4])];
    const dropout = seededDropout(1, 0.1);
    const activation = { kind: 'gelu' } as const;
    expect(() => k.engine.linearForward({ inp, weight, out, activation, residual: out })).toThrow(InvariantError);
    expect(() => k.engine.linearForward({ inp, weight, out, dropout })).toThrow(InvariantError);
    const backward = { inp, weight, dout: out, dweight, dinpActivation: { ...activation, preActivation: inp } };
    expect(() => k.engine.linearBackward(backward)).toThrow(InvariantError);
    expect(() => k.engine.linearBackward({ ...backward, dinp, accumulate: true })).toThrow(InvariantError);
  });
}

/** Every choice of some of them but not all. */
function gradientSubsets<Name extends string>(names: readonly Name[]): Name[][] {
  const choices = Array.from({ length: 2 ** names.length - 2 }, (_, i) => i + 1);
  return choices.map((bits) => names.filter((_, i) => (bits >> i) & 1));
}

function layerNormCases(context: ContextGetter): void {
  const cases = [
    { n: 1, c: 3 },
    { n: 5, c: 1 },
    { n: 13, c: 65 },
    { n: 4, c: 96 },
    { n: 129, c: 257 },
    { n: 300, c: 768 },
  ];

  describe('layer norm', () => {
    it.each(gradientSubsets(['dinp', 'dweight', 'dbias']))('gives %s alone', async (...names) => {
      const k = context();
      const [n, c, eps] = [129, 65, 1e-5];
      const input = { inp: seededValues(1, n * c), weight: seededValues(2, c), n, c, eps };
      const dout = seededValues(4, n * c);
      const operands = { inp: k.put([n, c], input.inp), weight: k.put([c], input.weight) };
      const saved = { mean: k.out([n]), rstd: k.out([n]) };
      k.engine.layerNormForward({ ...operands, ...saved, out: k.out([n, c]), eps });
      const shapes = { dinp: [n, c], dweight: [c], dbias: [c] };
      const gradients = Object.fromEntries(names.map((name) => [name, k.zeros(shapes[name])]));
      const shared = { ...operands, ...saved, dout: k.put([n, c], dout) };
      k.engine.layerNormBackward({ ...shared, ...gradients });
      const expected = reference.layerNormBackward(input, dout);
      const made = reference.layerNormBackwardTerms(input, dout);
      for (const name of names) {
        await k.expectClose(gradients[name]!, expected[name], 'layerNormBackward', name, made[name]);
      }
      expect(() => k.engine.layerNormBackward(shared)).toThrow(InvariantError);
    });

    it.each(cases)('N=$n C=$c, forward and backward', async ({ n, c }) => {
      const k = context();
      const eps = 1e-5;
      const input = {
        inp: seededValues(1, n * c).map((x) => 3 * x + 1),
        weight: seededValues(2, c),
        bias: seededValues(3, c),
        n,
        c,
        eps,
      };
      const [inp, weight] = [k.put([n, c], input.inp), k.put([c], input.weight)];
      const [out, plain, mean, rstd] = [k.out([n, c]), k.out([n, c]), k.out([n]), k.out([n])];
      k.engine.layerNormForward({ out: plain, mean, rstd, inp, weight, eps });
      k.engine.layerNormForward({ out, mean, rstd, inp, weight, bias: k.put([c], input.bias), eps });
      const forward = reference.layerNormForward(input);
      const unbiased = reference.layerNormForward({ ...input, bias: undefined });
      const terms = reference.layerNormForwardTerms(input);
      const unbiasedTerms = reference.layerNormForwardTerms({ ...input, bias: undefined });
      await k.expectClose(out, forward.out, 'layerNormForward', 'out', terms);
      await k.expectClose(plain, unbiased.out, 'layerNormForward', 'out without bias', unbiasedTerms);
      await k.expectClose(mean, forward.mean, 'layerNormForward', 'mean');
      await k.expectClose(rstd, forward.rstd, 'layerNormForward', 'rstd');

      const doutValues = unevenValues(4, n, c);
      const expected = reference.layerNormBackward(input, doutValues);
      const made = reference.layerNormBackwardTerms(input, doutValues);
      const initial = { dinp: smallValues(5, n * c), dweight: smallValues(6, c), dbias: smallValues(7, c) };
      const [dweight, dbias] = [k.put([c], initial.dweight), k.put([c], initial.dbias)];
      const [assigned, accumulated] = [k.out([n, c]), k.put([n, c], initial.dinp)];
      const operands = { dout: k.put([n, c], doutValues), inp, weight, mean, rstd };
      k.engine.layerNormBackward({ ...operands, dinp: assigned, dweight, dbias });
      const name = 'layerNormBackward';
      await k.expectClose(assigned, expected.dinp, name, 'dinp', made.dinp);
      await k.expectAccumulated(dweight, initial.dweight, expected.dweight, name, 'dweight', made.dweight);
      await k.expectAccumulated(dbias, initial.dbias, expected.dbias, name, 'dbias', made.dbias);
      k.engine.layerNormBackward({ ...operands, dinp: accumulated, accumulate: true, dweight });
      await k.expectAccumulated(accumulated, initial.dinp, expected.dinp, name, 'dinp, accumulated', made.dinp);
    });
  });
}
