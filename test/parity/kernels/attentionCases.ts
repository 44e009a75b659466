/** Kernel suite: attention, whole and token by token. */
import { describe, it } from 'vitest';
import { type ContextGetter, seededKeys, seededValues } from './harness.ts';
import { dropoutMask } from './reference.ts';
import { attentionBackward, attentionForward } from './referenceAttention.ts';

export function attentionCases(context: ContextGetter): void {
  const shapes = [
    { b: 1, t: 1, nHead: 1, headSize: 1 },
    { b: 3, t: 1, nHead: 2, headSize: 8 },
    { b: 2, t: 13, nHead: 1, headSize: 3 },
    { b: 1, t: 13, nHead: 5, headSize: 3 },
    { b: 2, t: 33, nHead: 3, headSize: 17 },
    { b: 2, t: 64, nHead: 4, headSize: 32 },
    { b: 1, t: 130, nHead: 2, headSize: 64 },
    { b: 1, t: 257, nHead: 1, headSize: 20 },
  ];
  const cases = shapes.flatMap((shape) => [0, 0.2].map((rate) => ({ ...shape, rate })));

  describe('attention', () => {
    it.each(cases)('B=$b T=$t NH=$nHead HS=$headSize dropout $rate, forward and backward', async (shape) => {
      const k = context();
      const { b, t, nHead, headSize, rate } = shape;
      const c = nHead * headSize;
      const dropout = { rate, keys: seededKeys(3, b) };
      const qkvValues = seededValues(1, b * t * 3 * c).map((x) => 2 * x);
      const doutValues = seededValues(2, b * t * c);
      const mask = dropoutMask(dropout, nHead * t * t);
      const input = { qkv: qkvValues, b, t, nHead, headSize, mask };
      const qkv = k.put([b, t, 3 * c], qkvValues);
      const [out, lse, dqkv] = [k.out([b, t, c]), k.out([b, nHead, t]), k.out([b, t, 3 * c])];
      const options = { qkv, nHead, lse, out, ...(rate > 0 && { dropout }) };
      k.engine.attentionForward(options);
      const expected = attentionForward(input);
      await k.expectClose(out, expected.out, 'attentionForward', 'out');
      await k.expectClose(lse, expected.lse, 'attentionForward', 'lse');
      k.engine.attentionBackward({ ...options, dqkv, dout: k.put([b, t, c], doutValues) });
      await k.expectClose(dqkv, attentionBackward(input, doutValues), 'attentionBackward', 'dqkv');
    });

    it('is stable for large scores', async () => {
      const k = context();
      const [b, t, nHead, headSize] = [1, 20, 2, 8];
      const qkvValues = seededValues(1, b * t * 3 * nHead * headSize).map((x) => 30 * x);
      const qkv = k.put([b, t, 3 * nHead * headSize], qkvValues);
      const [out, lse] = [k.out([b, t, nHead * headSize]), k.out([b, nHead, t])];
      k.engine.attentionForward({ qkv, nHead, lse, out });
      const expected = attentionForward({ qkv: qkvValues, b, t, nHead, headSize });
      // Rounding a score of about 1000 moves its weight by 1e-4 relative: 20 times what the tolerance is for values of 30.
      await k.expectClose(out, expected.out, 'attentionForward', 'out', 20 * 30);
      await k.expectClose(lse, expected.lse, 'attentionForward', 'lse');
    });

    it.each([
      { t: 1, nHead: 1, headSize: 1 },
      { t: 13, nHead: 5, headSize: 3 },
      { t: 40, nHead: 2, headSize: 32 },
    ])('decodes token by token what it computes at once: T=$t NH=$nHead HS=$headSize', async (shape) => {
      const k = context();
      const { t, nHead, headSize } = shape;
      const c = nHead * headSize;
      const qkvValues = seededValues(1, t * 3 * c);
      const whole = attentionForward({ qkv: qkvValues, b: 1, ...shape });
      const [keys, values] = [k.out([t + 3, c]), k.out([t + 3, c])];
      for (let position = 0; position < t; position++) {
        const qkv = k.put([1, 3 * c], qkvValues.slice(position * 3 * c, (position + 1) * 3 * c));
        const out = k.out([1, c]);
        k.engine.attentionDecode({ out, qkv, keys, values, position, nHead });
        const expected = whole.out.subarray(position * c, (position + 1) * c);
        await k.expectClose(out, expected, 'attentionForward', `position ${position}`);
      }
    });
  });
}
