/** Kernel suite: linear and layer norm. */
import { describe, it } from 'vitest';
import { type ContextGetter, type KernelContext, seededValues } from './harness.ts';
import * as reference from './reference.ts';

export function matrixCases(context: ContextGetter): void {
  linearCases(context);
  layerNormCases(context);
}

function linearInputs({ n, ic, oc, transposed }: { n: number; ic: number; oc: number; transposed: boolean }) {
  return {
    inp: seededValues(1, n * ic),
    weight: seededValues(2, ic * oc),
    bias: seededValues(3, oc),
    dout: seededValues(4, n * oc),
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
    it.each(cases)('N=$n IC=$ic OC=$oc, transposed weight $transposed', async (shape) => {
      const k = context();
      const input = linearInputs(shape);
      const { n, ic, oc } = shape;
      const operands = putLinear(k, input);
      const [plain, biased] = [k.out([n, oc]), k.out([n, oc])];
      k.engine.linearForward({ ...operands, out: plain });
      k.engine.linearForward({ ...operands, out: biased, bias: k.put([oc], input.bias) });
      await k.expectClose(plain, reference.linearForward({ ...input, bias: undefined }), 'linearForward', 'no bias');
      await k.expectClose(biased, reference.linearForward(input), 'linearForward', 'with bias');

      const dout = k.put([n, oc], input.dout);
      const initial = { dinp: seededValues(5, n * ic), dweight: seededValues(6, ic * oc), dbias: seededValues(7, oc) };
      const dweight = k.put(operands.weight.shape, initial.dweight);
      const dbias = k.put([oc], initial.dbias);
      const [assigned, accumulated] = [k.out([n, ic]), k.put([n, ic], initial.dinp)];
      const expected = reference.linearBackward(input, input.dout);
      k.engine.linearBackward({ ...operands, dout, dinp: assigned, dweight, dbias });
      await k.expectClose(assigned, expected.dinp, 'linearBackward', 'dinp');
      await k.expectAccumulated(dweight, initial.dweight, expected.dweight, 'linearBackward', 'dweight');
      await k.expectAccumulated(dbias, initial.dbias, expected.dbias, 'linearBackward', 'dbias');

      k.engine.linearBackward({ ...operands, dout, dinp: accumulated, accumulate: true, dweight });
      await k.expectAccumulated(accumulated, initial.dinp, expected.dinp, 'linearBackward', 'dinp, accumulated');
      const twice = expected.dweight.map((value) => 2 * value);
      await k.expectAccumulated(dweight, initial.dweight, twice, 'linearBackward', 'dweight, the second time');
    });

    it('flattens leading dimensions, and leaves dinp out when it is not asked for', async () => {
      const k = context();
      const input = linearInputs({ n: 6, ic: 5, oc: 4, transposed: false });
      const [inp, weight] = [k.put([2, 3, 5], input.inp), k.put([5, 4], input.weight)];
      const [out, dweight] = [k.out([2, 3, 4]), k.put([5, 4], new Float32Array(20))];
      k.engine.linearForward({ out, inp, weight, bias: k.put([4], input.bias) });
      await k.expectClose(out, reference.linearForward(input), 'linearForward', 'out');
      k.engine.linearBackward({ inp, weight, dout: k.put([2, 3, 4], input.dout), dweight });
      await k.expectClose(dweight, reference.linearBackward(input, input.dout).dweight, 'linearBackward', 'dweight');
    });
  });
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
      await k.expectClose(out, forward.out, 'layerNormForward', 'out');
      await k.expectClose(plain, unbiased.out, 'layerNormForward', 'out without bias');
      await k.expectClose(mean, forward.mean, 'layerNormForward', 'mean');
      await k.expectClose(rstd, forward.rstd, 'layerNormForward', 'rstd');

      const doutValues = seededValues(4, n * c);
      const expected = reference.layerNormBackward(input, doutValues);
      const initial = { dinp: seededValues(5, n * c), dweight: seededValues(6, c), dbias: seededValues(7, c) };
      const [dweight, dbias] = [k.put([c], initial.dweight), k.put([c], initial.dbias)];
      const [assigned, accumulated] = [k.out([n, c]), k.put([n, c], initial.dinp)];
      const operands = { dout: k.put([n, c], doutValues), inp, weight, mean, rstd };
      k.engine.layerNormBackward({ ...operands, dinp: assigned, dweight, dbias });
      // With one channel the gradient is 0: the difference of terms of size rstd.
      const scale = forward.rstd.reduce((largest, r) => Math.max(largest, r), 0);
      await k.expectClose(assigned, expected.dinp, 'layerNormBackward', 'dinp', c === 1 ? scale : 0);
      await k.expectAccumulated(dweight, initial.dweight, expected.dweight, 'layerNormBackward', 'dweight');
      await k.expectAccumulated(dbias, initial.dbias, expected.dbias, 'layerNormBackward', 'dbias');
      k.engine.layerNormBackward({ ...operands, dinp: accumulated, accumulate: true, dweight });
      await k.expectAccumulated(accumulated, initial.dinp, expected.dinp, 'layerNormBackward', 'dinp, accumulated');
    });
  });
}
