/** Kernel suite: attention whose queries are apart from keys and values, or see ranges of keys of their own. */
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../../src/base/errors.ts';
import { roundedToBfloat16, toBfloat16 } from './bfloat16.ts';
import {
  type ContextGetter,
  type KernelContext,
  seededDropout,
  seededIntegers,
  seededValues,
  unevenValues,
} from './harness.ts';
import type { SeparateInput } from './referenceAttention.ts';
import { reference } from './sharedReference.ts';

const { attentionForward, attentionForwardTerms, dropoutMask, separateAttentionBackward } = reference;

interface Range {
  readonly start?: number;
  readonly end: number;
}

interface Case {
  readonly name: string;
  readonly b: number;
  readonly tq: number;
  readonly tk: number;
  /** The keys of a query of a sample. */
  readonly of: (i: number, sample: number) => Range;
}

/** Arbitrary ranges that are not empty. */
function anyRange(keys: number): Case['of'] {
  const numbers = seededIntegers(9, 4096, 1 << 20);
  return (i, sample) => {
    const [first, second] = [numbers[2 * (64 * sample + i)]! % keys, numbers[2 * (64 * sample + i) + 1]! % keys];
    return { start: Math.min(first, second), end: Math.max(first, second) + 1 };
  };
}

const layouts: readonly Case[] = [
  { name: 'one query of one key', b: 1, tq: 1, tk: 1, of: () => ({ end: 1 }) },
  { name: 'both directions', b: 2, tq: 33, tk: 33, of: () => ({ end: 33 }) },
  { name: 'another sequence, padded', b: 3, tq: 17, tk: 70, of: (_, sample) => ({ end: [70, 1, 33][sample]! }) },
  { name: 'a shorter sequence', b: 1, tq: 130, tk: 7, of: () => ({ end: 7 }) },
  { name: 'a window', b: 1, tq: 130, tk: 130, of: (i) => ({ start: Math.max(0, i - 20), end: i + 1 }) },
  {
    name: 'documents, both directions',
    b: 1,
    tq: 65,
    tk: 65,
    of: (i) => (i < 24 ? { start: 0, end: 24 } : { start: 24, end: 65 }),
  },
  { name: 'any ranges', b: 2, tq: 60, tk: 150, of: anyRange(150) },
];
const heads = [
  { nHead: 2, nKvHead: 2, headSize: 5 },
  { nHead: 4, nKvHead: 2, headSize: 64 },
];
const cases = layouts.flatMap((layout) =>
  heads.flatMap((head) => [0, 0.2].map((rate) => ({ ...layout, ...head, rate }))),
);
type HeadCase = (typeof cases)[number];

export function rangeCases(context: ContextGetter): void {
  describe('attention to ranges of keys', () => {
    it.each(cases)('$name, NH=$nHead HS=$headSize dropout $rate, forward and backward', async (shape) => {
      const k = context();
      const { input, dout } = operandsOf(shape);
      const made = run(k, input, dout, shape.rate);
      const expected = attentionForward(input);
      await k.expectClose(made.out, expected.out, 'attentionForward', 'out', attentionForwardTerms(input));
      const logs = (await k.read(made.lse)).subarray(0, expected.lse.length);
      k.expectNumbers(logs, expected.lse, 'attentionForward', 'lse', 0, shape.tq);
      const { dq, dkv } = separateAttentionBackward(input, dout);
      const terms = separateAttentionBackward(input, dout, 'terms');
      await k.expectClose(made.dq, dq, 'attentionBackward', 'dq', terms.dq);
      await k.expectClose(made.dkv, dkv, 'attentionBackward', 'dkv', terms.dkv);
    });

    it('in one tensor of queries, keys and values: the bits of two', async () => {
      const k = context();
      const shape = { ...layouts[5]!, ...heads[0]!, rate: 0 };
      const { input, dout } = operandsOf(shape);
      const apart = run(k, input, dout, 0);
      const { b, t, nHead, nKvHead, headSize } = input;
      const [c, kvWidth] = [nHead * headSize, 2 * nKvHead * headSize];
      const qkv = interleaved(input.q, c, input.kv, kvWidth);
      const [out, lse, dqkv] = [k.out([b, t, c]), k.out([2, b, nHead, t]), k.out([b, t, c + kvWidth])];
      const options = { qkv: k.put([b, t, c + kvWidth], qkv), nHead, nKvHead, lse, ...rangeTensors(k, input), out };
      k.engine.attentionForward(options);
      k.engine.attentionBackward({ ...options, dqkv, dout: k.put([b, t, c], dout) });
      expect(await k.read(out)).toEqual(await k.read(apart.out));
      const gradients = interleaved(await k.read(apart.dq), c, await k.read(apart.dkv), kvWidth);
      expect(await k.read(dqkv)).toEqual(gradients);
    });

    it.each(heads)('padding keys changes no bit, and they get no gradient: NH=$nHead HS=$headSize', async (head) => {
      const k = context();
      const [b, tq, tk, padded] = [2, 40, 33, 97];
      const shape = {
        name: '',
        b,
        tq,
        tk,
        of: (_: number, sample: number) => ({ end: [33, 6][sample]! }),
        ...head,
        rate: 0,
      };
      const { input, dout } = operandsOf(shape);
      const kvWidth = 2 * head.nKvHead * head.headSize;
      const kv = seededValues(77, b * padded * kvWidth);
      for (let sample = 0; sample < b; sample++) {
        kv.set(input.kv.subarray(sample * tk * kvWidth, (sample + 1) * tk * kvWidth), sample * padded * kvWidth);
      }
      const before = run(k, input, dout, 0);
      const after = run(k, { ...input, kv, keys: padded }, dout, 0);
      for (const name of ['out', 'lse', 'dq'] as const) {
        expect(await k.read(after[name]), name).toEqual(await k.read(before[name]));
      }
      const [plain, wide] = [await k.read(before.dkv), await k.read(after.dkv)];
      for (let sample = 0; sample < b; sample++) {
        const own = wide.subarray(sample * padded * kvWidth, (sample + 1) * padded * kvWidth);
        expect(own.subarray(0, tk * kvWidth)).toEqual(
          plain.subarray(sample * tk * kvWidth, (sample + 1) * tk * kvWidth),
        );
        expect(own.subarray([33, 6][sample]! * kvWidth).every((value) => value === 0)).toBe(true);
      }
    });

    it.each([
      { ends: [1, 2, 6], what: 'past the last key' },
      { ends: [1, 0, 3], what: 'of nothing' },
      { starts: [0, 2, 0], ends: [1, 2, 3], what: 'that ends where it starts' },
      { starts: [0, -1, 0], ends: [1, 2, 3], what: 'before the first key' },
      { ends: [1, 2], what: 'that is missing' },
      { what: 'without ends, of other keys' },
    ])('refuses a range $what', ({ starts, ends }) => {
      const k = context();
      const put = (values: readonly number[]) => k.put([1, values.length], Int32Array.from(values));
      const options = {
        q: k.out([1, 3, 4]),
        kv: k.out([1, 5, 8]),
        nHead: 2,
        lse: k.out([2, 1, 2, 3]),
        out: k.out([1, 3, 4]),
        ...(starts && { starts: put(starts) }),
        ...(ends && { ends: put(ends) }),
      };
      expect(() => k.engine.attentionForward(options)).toThrow(InvariantError);
      const gradients = { dq: k.out([1, 3, 4]), dkv: k.out([1, 5, 8]), dout: k.out([1, 3, 4]) };
      expect(() => k.engine.attentionBackward({ ...options, ...gradients })).toThrow(InvariantError);
    });

    it('refuses operands and gradients that do not fit each other', () => {
      const k = context();
      const ends = k.put([1, 3], Int32Array.of(1, 2, 3));
      const shared = { nHead: 2, lse: k.out([2, 1, 2, 3]), out: k.out([1, 3, 4]), ends };
      const q = k.out([1, 3, 4]);
      expect(() => k.engine.attentionForward({ ...shared, q, kv: k.out([2, 5, 8]) })).toThrow(
        'q is [1,3,4] and kv [2,5,8]',
      );
      expect(() => k.engine.attentionForward({ ...shared, q, kv: k.out([1, 5, 6]) })).toThrow('2 NKV·HS');
      const operands = { ...shared, q, kv: k.out([1, 5, 8]), dout: k.out([1, 3, 4]) };
      const gradients = { dq: k.out([1, 3, 4]), dkv: k.out([1, 4, 8]) };
      expect(() => k.engine.attentionBackward({ ...operands, ...gradients })).toThrow('a gradient of kv [1,5,8]');
    });
  });
}

/** For engines with tensors of bfloat16. */
export function rangeBfloat16Cases(context: ContextGetter): void {
  it.each(cases)('ranges of keys on bfloat16: $name, NH=$nHead HS=$headSize dropout $rate', async (shape) => {
    const k = context();
    const { input: exact, dout } = operandsOf(shape);
    const input = { ...exact, q: roundedToBfloat16(exact.q), kv: roundedToBfloat16(exact.kv) };
    const made = run(k, exact, dout, shape.rate, true);
    const expected = attentionForward(input).out;
    await k.expectClose(made.out, expected, 'attentionForwardBfloat16', 'out', attentionForwardTerms(input));
    const [gradients, terms] = (['gradients', 'terms'] as const).map((of) =>
      separateAttentionBackward(input, roundedToBfloat16(dout), of),
    );
    await k.expectClose(made.dq, gradients!.dq, 'attentionBackwardBfloat16', 'dq', terms!.dq);
    await k.expectClose(made.dkv, gradients!.dkv, 'attentionBackwardBfloat16', 'dkv', terms!.dkv);
  });
}

type Input = SeparateInput & { readonly q: Float32Array; readonly kv: Float32Array; readonly nKvHead: number };

function operandsOf({ b, tq, tk, of, nHead, nKvHead, headSize, rate }: HeadCase): { input: Input; dout: Float32Array } {
  const ranges = Array.from({ length: b * tq }, (_, n) => of(n % tq, Math.floor(n / tq)));
  const starts = ranges.some(({ start }) => start !== undefined) && {
    starts: Int32Array.from(ranges, ({ start = 0 }) => start),
  };
  const q = seededValues(1, b * tq * nHead * headSize).map((x) => 2 * x);
  const kv = seededValues(2, b * tk * 2 * nKvHead * headSize).map((x) => 2 * x);
  const mask = dropoutMask(seededDropout(3, rate), b, nHead * tq * tk);
  const ends = Int32Array.from(ranges, ({ end }) => end);
  const input = { q, kv, b, t: tq, keys: tk, nHead, nKvHead, headSize, mask, ...starts, ends };
  return { input, dout: unevenValues(4, b * tq, nHead * headSize) };
}

function rangeTensors(k: KernelContext, { b, t, starts, ends }: Input) {
  return { ends: k.put([b, t], ends!), ...(starts && { starts: k.put([b, t], starts) }) };
}

/** The results of both passes. */
function run(k: KernelContext, input: Input, dout: Float32Array, rate: number, isBfloat16 = false) {
  const { b, t, keys, nHead, nKvHead, headSize } = input;
  const [c, kvWidth] = [nHead * headSize, 2 * nKvHead * headSize];
  const put = (shape: readonly number[], values: Float32Array) =>
    k.put(shape, isBfloat16 ? toBfloat16(values) : values);
  const dtype = isBfloat16 ? 'bfloat16' : 'float32';
  const [out, lse] = [k.out([b, t, c], dtype), k.out([2, b, nHead, t])];
  const [dq, dkv] = [k.out([b, t, c], dtype), k.out([b, keys, kvWidth], dtype)];
  const options = {
    q: put([b, t, c], input.q),
    kv: put([b, keys, kvWidth], input.kv),
    nHead,
    nKvHead,
    lse,
    out,
    ...rangeTensors(k, input),
    ...(rate > 0 && { dropout: seededDropout(3, rate) }),
  };
  k.engine.attentionForward(options);
  k.engine.attentionBackward({ ...options, dq, dkv, dout: put([b, t, c], dout) });
  return { out, lse, dq, dkv };
}

/** Rows of `a` beside rows of `b`. */
function interleaved(a: Float32Array, aWidth: number, b: Float32Array, bWidth: number): Float32Array {
  const rows = a.length / aWidth;
  const both = new Float32Array(rows * (aWidth + bWidth));
  for (let row = 0; row < rows; row++) {
    both.set(a.subarray(row * aWidth, (row + 1) * aWidth), row * (aWidth + bWidth));
    both.set(b.subarray(row * bWidth, (row + 1) * bWidth), row * (aWidth + bWidth) + aWidth);
  }
  return both;
}
