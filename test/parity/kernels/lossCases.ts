/** Kernel suite: cross-entropy, squared norm and AdamW. */
import { describe, expect, it } from 'vitest';
import { type ContextGetter, seededIntegers, seededValues, smallValues } from './harness.ts';
import { reference } from './sharedReference.ts';

export function lossCases(context: ContextGetter): void {
  describe('cross-entropy', () => {
    const cases = [
      { n: 1, v: 7, spread: 1 },
      { n: 3, v: 1, spread: 1 },
      { n: 13, v: 65, spread: 5 },
      { n: 40, v: 1003, spread: 20 },
      { n: 6, v: 50257, spread: 3 },
    ];
    it.each(cases)('N=$n V=$v logits to ±$spread', async ({ n, v, spread }) => {
      const k = context();
      const logitValues = seededValues(1, n * v).map((x) => spread * x);
      const targetValues = seededIntegers(2, n, v);
      if (n > 1) targetValues[1] = -1;
      const scale = 0.37;
      const input = { logits: logitValues, targets: targetValues, n, v };
      const expected = reference.crossEntropy(input, scale);
      const [logits, targets] = [k.put([n, v], logitValues), k.put([n], targetValues)];
      const [losses, dlogits] = [k.out([n]), k.out([n, v])];
      k.engine.crossEntropy({ losses, logits, targets });
      const terms = reference.crossEntropyTerms(input, scale);
      await k.expectClose(losses, expected.losses, 'crossEntropy', 'losses alone', terms.losses);
      k.engine.zero(losses);
      k.engine.crossEntropy({ losses, logits, targets, dlogits, scale });
      await k.expectClose(losses, expected.losses, 'crossEntropy', 'losses', terms.losses);
      await k.expectClose(dlogits, expected.dlogits, 'crossEntropy', 'dlogits', terms.dlogits);
      k.engine.crossEntropy({ losses, logits, targets, dlogits: logits, scale });
      await k.expectClose(losses, expected.losses, 'crossEntropy', 'losses, in place', terms.losses);
      await k.expectClose(logits, expected.dlogits, 'crossEntropy', 'dlogits = logits', terms.dlogits);

      const weights = seededValues(7, n);
      if (n > 2) weights[2] = 0;
      const weighted = reference.crossEntropy(input, scale, weights);
      const again = k.put([n, v], logitValues);
      k.engine.crossEntropy({ losses, logits: again, targets, dlogits, scale, weights: k.put([n], weights) });
      await k.expectClose(losses, expected.losses, 'crossEntropy', 'losses have no weights', terms.losses);
      const { dlogits: made } = reference.crossEntropyTerms(input, scale, weights);
      await k.expectClose(dlogits, weighted.dlogits, 'crossEntropy', 'dlogits with weights', made);
    });

    it('gives a row without a target no gradient, whatever its weight is', async () => {
      const k = context();
      const [n, c, v] = [5, 3, 9];
      const targetValues = seededIntegers(2, n, v).fill(-1, 1, 4);
      const weightValues = Float32Array.of(2, Infinity, Number.NaN, -Infinity, 3);
      const logitValues = seededValues(1, n * v);
      const [targets, weights] = [k.put([n], targetValues), k.put([n], weightValues)];
      const [losses, dlogits, logits] = [k.out([n]), k.out([n, v]), k.put([n, v], logitValues)];
      k.engine.crossEntropy({ losses, logits, targets, dlogits, weights });
      const expected = reference.crossEntropy({ logits: logitValues, targets: targetValues, n, v }, 1, weightValues);
      await k.expectClose(dlogits, expected.dlogits, 'crossEntropy', 'dlogits');
      const input = { inp: seededValues(3, n * c), weight: seededValues(4, c * v), n, ic: c, oc: v, transposed: false };
      const [dinp, dweight] = [k.out([n, c]), k.zeros([c, v])];
      const [inp, weight] = [k.put([n, c], input.inp), k.put([c, v], input.weight)];
      k.engine.linearCrossEntropy({ losses, inp, weight, targets, weights, dinp, dweight });
      const head = reference.linearCrossEntropy({ ...input, targets: targetValues }, 1, weightValues);
      await k.expectClose(dinp, head.dinp, 'linearCrossEntropy', 'dinp');
      await k.expectClose(dweight, head.dweight, 'linearCrossEntropy', 'dweight');
    });

    it('ignores every target when all are -1, and scales by 1 when nothing is said', async () => {
      const k = context();
      const [n, v] = [4, 9];
      const logitValues = seededValues(1, n * v);
      const logits = k.put([n, v], logitValues);
      const [losses, dlogits] = [k.out([n]), k.out([n, v])];
      k.engine.crossEntropy({ losses, logits, targets: k.put([n], new Int32Array(n).fill(-1)), dlogits });
      expect(await k.read(losses)).toEqual(new Float32Array(n));
      expect((await k.read(dlogits)).every((value) => value === 0)).toBe(true);
      const targetValues = seededIntegers(2, n, v);
      k.engine.crossEntropy({ losses, logits, targets: k.put([n], targetValues), dlogits });
      const expected = reference.crossEntropy({ logits: logitValues, targets: targetValues, n, v }, 1);
      await k.expectClose(dlogits, expected.dlogits, 'crossEntropy', 'dlogits with the default scale');
    });
  });

  describe('squared norm', () => {
    it('sums over every tensor of a group, and over nothing but them', async () => {
      const k = context();
      const group = k.engine.allocGroup([[3], [13, 7], [1], [300, 257]]);
      expect(await k.engine.squaredNorm(group)).toBe(0);
      const values = k.fillGroup(group, 1);
      const expected = values.flatMap((data) => [...data]).reduce((sum, x) => sum + x * x, 0);
      k.expectNumbers(
        Float64Array.of(await k.engine.squaredNorm(group)),
        Float64Array.of(expected),
        'squaredNorm',
        'the sum',
      );
      k.engine.zeroGroup(group);
      expect(await k.engine.squaredNorm(group)).toBe(0);
    });
  });

  describe('linear cross-entropy', () => {
    const cases = [
      { n: 1, c: 3, v: 7, transposed: false },
      { n: 3, c: 1, v: 1, transposed: true },
      { n: 13, c: 17, v: 65, transposed: false },
      { n: 13, c: 17, v: 65, transposed: true },
      { n: 70, c: 64, v: 1003, transposed: false },
      { n: 70, c: 64, v: 1003, transposed: true },
      { n: 6, c: 5, v: 50257, transposed: true },
      { n: 340, c: 1, v: 50257, transposed: true, weighted: true }, // several chunks of rows
      { n: 13, c: 17, v: 65, transposed: false, weighted: true },
      { n: 70, c: 64, v: 1003, transposed: true, weighted: true },
    ].map((shape) => ({ weighted: false, ...shape }));
    it.each(cases)('N=$n C=$c V=$v, transposed weight $transposed, row weights $weighted', async (shapes) => {
      const { n, c, v, transposed, weighted } = shapes;
      const k = context();
      const [inpValues, weightValues] = [seededValues(1, n * c), seededValues(2, c * v)];
      const targetValues = seededIntegers(3, n, v);
      if (n > 1) targetValues[1] = -1;
      const input = { inp: inpValues, weight: weightValues, n, ic: c, oc: v, transposed, targets: targetValues };
      const scale = 0.37;
      const weights = weighted ? seededValues(8, n) : undefined;
      const expected = reference.linearCrossEntropy(input, scale, weights);
      const shape = transposed ? [v, c] : [c, v];
      const operands = {
        inp: k.put([n, c], inpValues),
        weight: k.put(shape, weightValues),
        targets: k.put([n], targetValues),
        ...(transposed && { weightTransposed: true }),
      };
      const [alone, losses, dinp] = [k.out([n]), k.out([n]), k.out([n, c])];
      const initial = smallValues(4, c * v);
      const dweight = k.put(shape, initial);
      k.engine.linearCrossEntropy({ ...operands, losses: alone });
      const terms = reference.linearCrossEntropyTerms(input, scale, weights);
      await k.expectClose(alone, expected.losses, 'linearCrossEntropy', 'losses alone', terms.losses);
      const gradient = { scale, ...(weights && { weights: k.put([n], weights) }) };
      k.engine.linearCrossEntropy({ ...operands, losses, ...gradient, dinp, dweight });
      await k.expectClose(losses, expected.losses, 'linearCrossEntropy', 'losses', terms.losses);
      await k.expectClose(dinp, expected.dinp, 'linearCrossEntropy', 'dinp', terms.dinp);
      await k.expectAccumulated(dweight, initial, expected.dweight, 'linearCrossEntropy', 'dweight', terms.dweight);
    });

    it('scales by 1 when nothing is said, and gives each gradient without the other', async () => {
      const k = context();
      const [n, c, v] = [4, 3, 9];
      const input = { inp: seededValues(1, n * c), weight: seededValues(2, c * v), n, ic: c, oc: v, transposed: false };
      const targets = seededIntegers(3, n, v);
      const operands = {
        losses: k.out([n]),
        inp: k.put([n, c], input.inp),
        weight: k.put([c, v], input.weight),
        targets: k.put([n], targets),
      };
      const [dinp, dweight] = [k.out([n, c]), k.put([c, v], new Float32Array(c * v))];
      k.engine.linearCrossEntropy({ ...operands, dinp, dweight });
      const expected = reference.linearCrossEntropy({ ...input, targets }, 1);
      await k.expectClose(dinp, expected.dinp, 'linearCrossEntropy', 'dinp with the default scale');
      const [dinpAlone, dweightAlone] = [k.out([n, c]), k.put([c, v], new Float32Array(c * v))];
      k.engine.linearCrossEntropy({ ...operands, dinp: dinpAlone });
      k.engine.linearCrossEntropy({ ...operands, dweight: dweightAlone });
      expect(await k.read(dinpAlone)).toEqual(await k.read(dinp));
      expect(await k.read(dweightAlone)).toEqual(await k.read(dweight));
      await k.expectClose(operands.losses, expected.losses, 'linearCrossEntropy', 'losses');
    });
  });

  describe('AdamW', () => {
    it.each([
      { sizes: [1], weightDecay: [0] },
      { sizes: [65], weightDecay: [0.1] },
      { sizes: [65], weightDecay: [0.1], betas: [0.9, 0.999] },
      { sizes: [65], weightDecay: [0.1], betas: [0.99999, 0.9999999] },
      { sizes: [3, 40_013, 1, 96, 20_000], weightDecay: [0.1, 0.2, 0, 0, 0.3] },
      { sizes: [3, 40_013, 1, 96, 20_000], weightDecay: [0.1, 0.2, 0, 0, 0.3], averageWeight: 0.3 },
    ])('five steps of $sizes parameters, decay $weightDecay, betas $betas, average $averageWeight', async (given) => {
      const { sizes, weightDecay, betas: [beta1 = 0, beta2 = 0] = [0.9, 0.95], averageWeight } = given;
      const k = context();
      const group = () => k.engine.allocGroup(sizes.map((size) => [size]));
      const groups = { params: group(), grads: group(), m: group(), v: group() };
      const states = k.fillGroup(groups.params, 1).map((initial, i) => ({
        param: Float64Array.from(initial),
        m: new Float64Array(sizes[i]!),
        v: new Float64Array(sizes[i]!),
        average: averageWeight === undefined ? undefined : new Float64Array(sizes[i]!),
      }));
      const average = averageWeight === undefined ? {} : { average: { group: group(), weight: averageWeight } };
      for (let step = 1; step <= 5; step++) {
        const gradients = k.fillGroup(groups.grads, 10 * step);
        const settings = {
          learningRate: 0.01 / step,
          beta1,
          beta2,
          eps: 1e-8,
          step,
          gradScale: step === 3 ? 0.25 : 1,
        };
        for (const [i, state] of states.entries()) {
          const averaging = { average: state.average, averageWeight };
          reference.adamw(state, gradients[i]!, { ...settings, ...averaging, weightDecay: weightDecay[i]! });
        }
        k.engine.adamw({ ...groups, ...average, weightDecay, ...settings, zeroGrads: step === 5 });
        for (const [i, grad] of groups.grads.tensors.entries()) {
          const expected = step === 5 ? new Float32Array(grad.size) : gradients[i]!;
          expect(await k.read(grad), `gradients after step ${step}`).toEqual(expected);
        }
      }
      for (const [i, state] of states.entries()) {
        await k.expectClose(groups.params.tensors[i]!, state.param, 'adamw', `param ${i}`);
        await k.expectClose(groups.m.tensors[i]!, state.m, 'adamw', `m ${i}`);
        await k.expectClose(groups.v.tensors[i]!, state.v, 'adamw', `v ${i}`);
        if (state.average === undefined) continue;
        await k.expectClose(average.average!.group.tensors[i]!, state.average, 'adamw', `average ${i}`);
      }
      k.engine.zeroGroup(groups.grads);
      k.engine.zeroGroup(groups.params);
      expect(await k.engine.squaredNorm(groups.params), 'the padding is 0').toBe(0);
    });
  });
}
