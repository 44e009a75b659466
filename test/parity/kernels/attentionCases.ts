/** Kernel suite: attention, all at once and token by token. */
import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../../src/engine/tensor.ts';
import { roundedToBfloat16, toBfloat16 } from './bfloat16.ts';
import { type ContextGetter, type KernelContext, seededDropout, seededValues, unevenValues } from './harness.ts';
import { qkvWidth } from './referenceAttention.ts';
import { reference } from './sharedReference.ts';

const { attentionBackward, attentionForward, attentionForwardTerms, dropoutMask } = reference;

/** The logs of the softmax denominators [2, B, NH, T]: what rounding left out of them is smaller than what it does to them. */
async function expectLogs(k: KernelContext, lse: Tensor, expected: Float64Array): Promise<void> {
  const values = await k.read(lse);
  const [logs, rests] = [values.subarray(0, expected.length), values.subarray(expected.length)];
  k.expectNumbers(logs, expected, 'attentionForward', 'lse', 0, lse.shape.at(-1));
  for (const [i, rest] of rests.entries()) expect(Math.abs(rest)).toBeLessThanOrEqual(1e-6 * Math.abs(logs[i]!));
}

/**
 * qkv [1, T, 3C] whose scores are millions, as those of weights that were multiplied by 3000. Every second key and the one before it are
 * equal, so that some weights are 1 and others 1/2, however scores are rounded.
 */
function enormousScores({ t, headSize, nHead }: { t: number; headSize: number; nHead: number }): Float32Array {
  const c = nHead * headSize;
  const values = seededValues(7, t * 3 * c);
  return values.map((value, i) => {
    const [row, column] = [Math.floor(i / (3 * c)), i % (3 * c)];
    if (column >= 2 * c) return value;
    return 3000 * (column >= c ? values[(row - (row % 2)) * 3 * c + column]! : value);
  });
}

interface Shape {
  readonly b: number;
  readonly t: number;
  readonly nHead: number;
  readonly nKvHead?: number;
  readonly headSize: number;
}

const enormous = [
  { t: 20, nHead: 1, headSize: 8 },
  { t: 130, nHead: 2, headSize: 64 },
];

export function attentionCases(context: ContextGetter): void {
  const shapes: readonly Shape[] = [
    { b: 1, t: 1, nHead: 1, headSize: 1 },
    { b: 3, t: 1, nHead: 2, headSize: 8 },
    { b: 2, t: 13, nHead: 1, headSize: 3 },
    { b: 1, t: 13, nHead: 5, headSize: 3 },
    { b: 2, t: 33, nHead: 3, headSize: 17 },
    { b: 2, t: 64, nHead: 4, headSize: 32 },
    { b: 1, t: 130, nHead: 2, headSize: 64 },
    { b: 1, t: 257, nHead: 1, headSize: 20 },
    // Around the edges of a vector and of a block, and head sizes of full vectors, half ones and less.
    ...[2, 15, 16, 17, 31, 32, 65].map((t) => ({ b: 2, t, nHead: 2, headSize: 5 })),
    ...[63, 127, 128, 129].map((t) => ({ b: 1, t, nHead: 1, headSize: 80 })),
    { b: 1, t: 193, nHead: 1, headSize: 128 },
    // Grouped queries.
    { b: 2, t: 1, nHead: 4, nKvHead: 2, headSize: 4 },
    { b: 2, t: 33, nHead: 6, nKvHead: 2, headSize: 5 },
    { b: 2, t: 70, nHead: 4, nKvHead: 1, headSize: 16 },
    { b: 1, t: 130, nHead: 4, nKvHead: 2, headSize: 64 },
  ];
  const cases = shapes.flatMap((shape) => [0, 0.2].map((rate) => ({ nKvHead: shape.nHead, ...shape, rate })));

  describe('attention', () => {
    it.each(cases)(
      'B=$b T=$t NH=$nHead NKV=$nKvHead HS=$headSize dropout $rate, forward and backward',
      async (shape) => {
        const k = context();
        const { b, t, nHead, nKvHead, headSize, rate } = shape;
        const [c, width] = [nHead * headSize, qkvWidth(shape)];
        const dropout = seededDropout(3, rate);
        const qkvValues = seededValues(1, b * t * width).map((x) => 2 * x);
        const doutValues = unevenValues(2, b * t, c);
        const mask = dropoutMask(dropout, b, nHead * t * t);
        const input = { qkv: qkvValues, b, t, nHead, nKvHead, headSize, mask };
        const qkv = k.put([b, t, width], qkvValues);
        const [out, lse, dqkv] = [k.out([b, t, c]), k.out([2, b, nHead, t]), k.out([b, t, width])];
        const heads = { nHead, ...(nKvHead !== nHead && { nKvHead }) };
        const options = { qkv, ...heads, lse, out, ...(rate > 0 && { dropout }) };
        k.engine.attentionForward(options);
        const expected = attentionForward(input);
        await k.expectClose(out, expected.out, 'attentionForward', 'out', attentionForwardTerms(input));
        await expectLogs(k, lse, expected.lse);
        k.engine.attentionBackward({ ...options, dqkv, dout: k.put([b, t, c], doutValues) });
        const terms = attentionBackward(input, doutValues, 'terms');
        await k.expectClose(dqkv, attentionBackward(input, doutValues), 'attentionBackward', 'dqkv', terms);
      },
    );

    it('is stable for large scores', async () => {
      const k = context();
      const [b, t, nHead, headSize] = [1, 20, 2, 8];
      const qkvValues = seededValues(1, b * t * 3 * nHead * headSize).map((x) => 30 * x);
      const qkv = k.put([b, t, 3 * nHead * headSize], qkvValues);
      const [out, lse] = [k.out([b, t, nHead * headSize]), k.out([2, b, nHead, t])];
      k.engine.attentionForward({ qkv, nHead, lse, out });
      const expected = attentionForward({ qkv: qkvValues, b, t, nHead, headSize });
      // Rounding a score of about 1000 moves its weight by 1e-4 relative: 20 times what the tolerance is for values of 30.
      await k.expectClose(out, expected.out, 'attentionForward', 'out', 20 * 30);
      await expectLogs(k, lse, expected.lse);
    });

    it.each(enormous)('computes gradients of scores of millions: T=$t NH=$nHead HS=$headSize', async (shape) => {
      const k = context();
      const { t, nHead, headSize } = shape;
      const c = nHead * headSize;
      const input = { qkv: enormousScores(shape), b: 1, ...shape };
      const doutValues = unevenValues(2, t, c);
      const qkv = k.put([1, t, 3 * c], input.qkv);
      const [out, lse, dqkv] = [k.out([1, t, c]), k.out([2, 1, nHead, t]), k.out([1, t, 3 * c])];
      k.engine.attentionForward({ qkv, nHead, lse, out });
      k.engine.attentionBackward({ qkv, nHead, lse, out, dqkv, dout: k.put([1, t, c], doutValues) });
      const expected = attentionForward(input);
      await k.expectClose(out, expected.out, 'attentionForward', 'out', attentionForwardTerms(input));
      await expectLogs(k, lse, expected.lse);
      const terms = attentionBackward(input, doutValues, 'terms');
      await k.expectClose(dqkv, attentionBackward(input, doutValues), 'attentionBackward', 'dqkv', terms);
    });

    it('neither overflows nor loses all weights where scores are 80 apart', async () => {
      const k = context();
      const [t, headSize] = [150, 4];
      // Keys of 80, 0 and -80 in turn, queries and values of 1.
      const qkvValues = Float32Array.from({ length: t * 3 * headSize }, (_, i) =>
        Math.floor(i / headSize) % 3 === 1 ? 40 * (1 - (Math.floor(i / (3 * headSize)) % 3)) : 1,
      );
      const input = { qkv: qkvValues, b: 1, t, nHead: 1, headSize };
      const qkv = k.put([1, t, 3 * headSize], qkvValues);
      const [out, lse, dqkv] = [k.out([1, t, headSize]), k.out([2, 1, 1, t]), k.out([1, t, 3 * headSize])];
      const doutValues = seededValues(2, t * headSize);
      k.engine.attentionForward({ qkv, nHead: 1, lse, out });
      k.engine.attentionBackward({ qkv, nHead: 1, lse, out, dqkv, dout: k.put([1, t, headSize], doutValues) });
      const expected = attentionForward(input);
      await k.expectClose(out, expected.out, 'attentionForward', 'out');
      await expectLogs(k, lse, expected.lse);
      await k.expectClose(dqkv, attentionBackward(input, doutValues), 'attentionBackward', 'dqkv', 80);
    });

    it.each([
      { chunks: [1], nHead: 1, nKvHead: 1, headSize: 1 },
      { chunks: Array(13).fill(1), nHead: 5, nKvHead: 5, headSize: 3 },
      { chunks: [4, 1, 2, 33], nHead: 2, nKvHead: 2, headSize: 32 },
      { chunks: [70, 1, 130], nHead: 3, nKvHead: 3, headSize: 20 },
      { chunks: [570, 1, 1, 28], nHead: 4, nKvHead: 4, headSize: 64 },
      { chunks: [9, 1, 3, 70, 2], nHead: 6, nKvHead: 2, headSize: 5 },
      { chunks: [70, 1, 130], nHead: 4, nKvHead: 1, headSize: 16 },
    ])(
      'decodes chunk by chunk what it computes at once: $chunks NH=$nHead NKV=$nKvHead HS=$headSize',
      async (shape) => {
        const k = context();
        const { chunks, nHead, nKvHead, headSize } = shape;
        const t = chunks.reduce((sum, size) => sum + size);
        const [c, kvWidth, width] = [nHead * headSize, nKvHead * headSize, qkvWidth(shape)];
        const qkvValues = seededValues(1, t * width).map((x) => 2 * x);
        const whole = attentionForward({ qkv: qkvValues, b: 1, t, nHead, nKvHead, headSize });
        const wholeTerms = attentionForwardTerms({ qkv: qkvValues, b: 1, t, nHead, nKvHead, headSize });
        const [keys, values] = [k.out([t + 3, kvWidth]), k.out([t + 3, kvWidth])];
        let position = 0;
        for (const size of chunks) {
          const end = position + size;
          const qkv = k.put([1, size, width], qkvValues.slice(position * width, end * width));
          const out = k.out([1, size, c]);
          k.engine.attentionDecode({ out, qkv, sequences: [{ keys, values, position }], nHead, nKvHead });
          const [expected, terms] = [whole.out, wholeTerms].map((all) => all.subarray(position * c, end * c));
          await k.expectClose(out, expected!, 'attentionForward', `from ${position}`, terms);
          position = end;
        }
      },
    );

    it.each([3, 1])(
      'decodes each of several sequences as if it were alone, bit for bit: NH=3 NKV=%s',
      async (nKvHead) => {
        const k = context();
        const [nHead, headSize] = [3, 12];
        const [c, kvWidth, width] = [nHead * headSize, nKvHead * headSize, qkvWidth({ nHead, nKvHead, headSize })];
        const positions = [0, 5, 131, 17, 2];
        const rows = positions.length;
        const qkvValues = seededValues(1, rows * width);
        const caches = () =>
          positions.map((position, i) => ({
            keys: k.put([140, kvWidth], seededValues(10 + i, 140 * kvWidth)),
            values: k.put([140, kvWidth], seededValues(30 + i, 140 * kvWidth)),
            position,
          }));
        const [out, together, apart] = [k.out([rows, 1, c]), caches(), caches()];
        const heads = { nHead, nKvHead };
        k.engine.attentionDecode({ out, qkv: k.put([rows, 1, width], qkvValues), sequences: together, ...heads });
        const values = await k.read(out);
        for (const [i, sequence] of apart.entries()) {
          const one = k.out([1, 1, c]);
          const qkv = k.put([1, 1, width], qkvValues.slice(i * width, (i + 1) * width));
          k.engine.attentionDecode({ out: one, qkv, sequences: [sequence], ...heads });
          expect(values.slice(i * c, (i + 1) * c), `sequence ${i}`).toEqual(await k.read(one));
          expect(await k.read(together[i]!.keys)).toEqual(await k.read(sequence.keys));
          expect(await k.read(together[i]!.values)).toEqual(await k.read(sequence.values));
        }
      },
    );

    it.each([
      { t: 1, nHead: 3, nKvHead: 3, headSize: 12 },
      { t: 9, nHead: 4, nKvHead: 2, headSize: 5 },
    ])('attends to sources in caches, which sequences may share, each as if it were alone: %j', async (shape) => {
      const k = context();
      const { t, nHead, nKvHead, headSize } = shape;
      const [c, kvWidth] = [nHead * headSize, nKvHead * headSize];
      const kvOf = (seed: number, rows: number) => seededValues(seed, rows * 2 * kvWidth);
      const lengths = [1, 70, 5];
      const sources = lengths.map((length, i) => {
        const kv = kvOf(10 + i, length);
        const part = (from: number) => kv.filter((_, at) => Math.floor(at / kvWidth) % 2 === from);
        const put = (numbers: Float32Array) => k.put([length, kvWidth], numbers);
        return { kv, cache: { keys: put(part(0)), values: put(part(1)), position: length } };
      });
      const used = [1, 0, 1, 2].map((index) => sources[index]!);
      const q = seededValues(3, used.length * t * c);
      const out = k.out([used.length, t, c]);
      const heads = { nHead, nKvHead };
      const sequences = used.map(({ cache }) => cache);
      k.engine.attentionDecode({ out, q: k.put([used.length, t, c], q), sequences, ...heads });
      const together = await k.read(out);
      for (const [i, { kv, cache }] of used.entries()) {
        const one = k.out([1, t, c]);
        const own = q.slice(i * t * c, (i + 1) * t * c);
        const before = await k.read(cache.keys);
        k.engine.attentionDecode({ out: one, q: k.put([1, t, c], own), sequences: [cache], ...heads });
        expect(together.slice(i * t * c, (i + 1) * t * c)).toEqual(await k.read(one));
        expect(await k.read(cache.keys)).toEqual(before);
        const ends = new Int32Array(t).fill(cache.position);
        const input = { q: own, kv, b: 1, t, keys: cache.position, nHead, nKvHead, headSize, ends };
        const [expected, terms] = [attentionForward(input).out, attentionForwardTerms(input)];
        await k.expectClose(one, expected, 'attentionForward', `source ${i}`, terms);
      }
      const empty = { ...sources[0]!.cache, position: 0 };
      const call = { out: k.out([1, t, c]), q: k.out([1, t, c]), sequences: [empty], ...heads };
      expect(() => k.engine.attentionDecode(call)).toThrow('attentionDecode');
    });

    it('refuses tokens that do not fit the cache', () => {
      const k = context();
      const cache = { keys: k.out([5, 4]), values: k.out([5, 4]) };
      const decode = { qkv: k.out([1, 3, 12]), out: k.out([1, 3, 4]), nHead: 2 };
      expect(() => k.engine.attentionDecode({ ...decode, sequences: [{ ...cache, position: 3 }] })).toThrow('cache');
      expect(() => k.engine.attentionDecode({ ...decode, sequences: [] })).toThrow('caches of 1');
    });

    it('refuses heads of keys that do not divide those of queries, and rows that are not made of heads', () => {
      const k = context();
      const options = { qkv: k.out([1, 3, 16]), lse: k.out([2, 1, 4, 3]), out: k.out([1, 3, 8]), nHead: 4 };
      expect(() => k.engine.attentionForward({ ...options, nKvHead: 3 })).toThrow('does not divide nHead = 4');
      expect(() => k.engine.attentionForward({ ...options, nKvHead: 1 })).toThrow('nHead = 4 and nKvHead = 1');
      k.engine.attentionForward({ ...options, nKvHead: 2 });
    });
  });
}

/** For engines with tensors of bfloat16. The reference computes with the rounded inputs. */
export function attentionBfloat16Cases(context: ContextGetter): void {
  const shapes: readonly Shape[] = [
    { b: 3, t: 1, nHead: 2, headSize: 8 },
    ...[2, 15, 16, 17, 31, 32, 33].map((t) => ({ b: 1, t, nHead: 3, headSize: 5 })),
    { b: 2, t: 64, nHead: 4, headSize: 32 },
    { b: 1, t: 65, nHead: 2, headSize: 80 },
    ...[63, 127, 128, 130].map((t) => ({ b: 1, t, nHead: 1, headSize: 64 })),
    { b: 1, t: 257, nHead: 1, headSize: 32 },
    { b: 1, t: 97, nHead: 1, headSize: 128 },
    { b: 2, t: 70, nHead: 6, nKvHead: 2, headSize: 40 },
    { b: 1, t: 130, nHead: 4, nKvHead: 1, headSize: 64 },
  ];
  const cases = shapes.flatMap((shape) => [0, 0.2].map((rate) => ({ nKvHead: shape.nHead, ...shape, rate })));

  describe('attention on bfloat16', () => {
    it.each(cases)(
      'B=$b T=$t NH=$nHead NKV=$nKvHead HS=$headSize dropout $rate, forward and backward',
      async (shape) => {
        const k = context();
        const { b, t, nHead, nKvHead, headSize, rate } = shape;
        const [c, width] = [nHead * headSize, qkvWidth(shape)];
        const dropout = seededDropout(3, rate);
        const qkvValues = seededValues(1, b * t * width).map((x) => 2 * x);
        const doutValues = unevenValues(2, b * t, c);
        const mask = dropoutMask(dropout, b, nHead * t * t);
        const input = { qkv: roundedToBfloat16(qkvValues), b, t, nHead, nKvHead, headSize, mask };
        const qkv = k.put([b, t, width], toBfloat16(qkvValues));
        const dout = k.put([b, t, c], toBfloat16(doutValues));
        const [out, dqkv] = [k.out([b, t, c], 'bfloat16'), k.out([b, t, width], 'bfloat16')];
        const lse = k.out([2, b, nHead, t]);
        const options = { qkv, nHead, nKvHead, lse, out, ...(rate > 0 && { dropout }) };
        k.engine.attentionForward(options);
        const expected = attentionForward(input);
        await k.expectClose(out, expected.out, 'attentionForwardBfloat16', 'out', attentionForwardTerms(input));
        await expectLogs(k, lse, expected.lse);
        k.engine.attentionBackward({ ...options, dqkv, dout });
        const gradients = attentionBackward(input, roundedToBfloat16(doutValues));
        const terms = attentionBackward(input, roundedToBfloat16(doutValues), 'terms');
        await k.expectClose(dqkv, gradients, 'attentionBackwardBfloat16', 'dqkv', terms);
      },
    );

    it.each(enormous)('computes gradients of scores of millions: T=$t NH=$nHead HS=$headSize', async (shape) => {
      const k = context();
      const { t, nHead, headSize } = shape;
      const c = nHead * headSize;
      const qkvValues = enormousScores(shape);
      const input = { qkv: roundedToBfloat16(qkvValues), b: 1, ...shape };
      const doutValues = unevenValues(2, t, c);
      const qkv = k.put([1, t, 3 * c], toBfloat16(qkvValues));
      const dout = k.put([1, t, c], toBfloat16(doutValues));
      const [out, dqkv] = [k.out([1, t, c], 'bfloat16'), k.out([1, t, 3 * c], 'bfloat16')];
      const lse = k.out([2, 1, nHead, t]);
      k.engine.attentionForward({ qkv, nHead, lse, out });
      await expectLogs(k, lse, attentionForward(input).lse);
      k.engine.attentionBackward({ qkv, nHead, lse, out, dqkv, dout });
      const terms = attentionBackward(input, roundedToBfloat16(doutValues), 'terms');
      const gradients = attentionBackward(input, roundedToBfloat16(doutValues));
      await k.expectClose(dqkv, gradients, 'attentionBackwardBfloat16', 'dqkv', terms);
    });

    it('wants tensors of one type', () => {
      const k = context();
      const [qkv, out, lse] = [k.out([1, 2, 12], 'bfloat16'), k.out([1, 2, 4]), k.out([2, 1, 2, 2])];
      expect(() => k.engine.attentionForward({ qkv, nHead: 2, lse, out })).toThrow('out of the type of the queries');
    });
  });
}
