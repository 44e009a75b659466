/** Kernel suite: cross-entropy, squared norm and AdamW. */
import { describe, expect, it } from 'vitest';
import { type ContextGetter, seededIntegers, seededValues } from './harness.ts';
import * as reference from './reference.ts';

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
      const expected = reference.crossEntropy({ logits: logitValues, targets: targetValues, n, v }, scale);
      const [logits, targets] = [k.put([n, v], logitValues), k.put([n], targetValues)];
      const [losses, dlogits] = [k.out([n]), k.out([n, v])];
      k.engine.crossEntropy({ losses, logits, targets });
      await k.expectClose(losses, expected.losses, 'crossEntropy', 'losses alone');
      k.engine.zero(losses);
      k.engine.crossEntropy({ losses, logits, targets, dlogits, scale });
      await k.expectClose(losses, expected.losses, 'crossEntropy', 'losses');
      await k.expectClose(dlogits, expected.dlogits, 'crossEntropy', 'dlogits');
      k.engine.crossEntropy({ losses, logits, targets, dlogits: logits, scale });
      await k.expectClose(losses, expected.losses, 'crossEntropy', 'losses, in place');
      await k.expectClose(logits, expected.dlogits, 'crossEntropy', 'dlogits = logits');
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

  describe('AdamW', () => {
    it.each([
      { size: 1, weightDecay: 0 },
      { size: 65, weightDecay: 0.1 },
      { size: 40_013, weightDecay: 0.1 },
    ])('five steps of $size parameters, weight decay $weightDecay', async ({ size, weightDecay }) => {
      const k = context();
      const initial = seededValues(1, size);
      const state = { param: Float64Array.from(initial), m: new Float64Array(size), v: new Float64Array(size) };
      const tensors = {
        param: k.put([size], initial),
        m: k.put([size], new Float32Array(size)),
        v: k.put([size], new Float32Array(size)),
      };
      for (let step = 1; step <= 5; step++) {
        const gradient = seededValues(10 + step, size);
        const settings = {
          learningRate: 0.01 / step,
          beta1: 0.9,
          beta2: 0.95,
          eps: 1e-8,
          weightDecay,
          step,
          gradScale: step === 3 ? 0.25 : 1,
        };
        reference.adamw(state, gradient, settings);
        k.engine.adamw({ ...tensors, grad: k.put([size], gradient), ...settings });
      }
      await k.expectClose(tensors.param, state.param, 'adamw', 'param');
      await k.expectClose(tensors.m, state.m, 'adamw', 'm');
      await k.expectClose(tensors.v, state.v, 'adamw', 'v');
    });
  });
}
