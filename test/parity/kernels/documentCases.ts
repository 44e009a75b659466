/** Kernel suite: documents that share a sample, in attention and in the position embedding. */
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../../src/base/errors.ts';
import { roundedToBfloat16, toBfloat16 } from './bfloat16.ts';
import {
  type ContextGetter,
  type KernelContext,
  seededDropout,
  seededIntegers,
  seededValues,
  smallValues,
  unevenValues,
} from './harness.ts';
import { qkvWidth } from './referenceAttention.ts';
import { reference } from './sharedReference.ts';

const { attentionBackward, attentionForward, attentionForwardTerms, dropoutMask } = reference;

/** Starts [B, T] of documents of these lengths, sample by sample. */
export function startsOf(documents: readonly (readonly number[])[]): Int32Array {
  return Int32Array.from(documents.flatMap(startsOfSample));
}

function startsOfSample(lengths: readonly number[]): number[] {
  let start = 0;
  return lengths.flatMap((length) => {
    const own = Array<number>(length).fill(start);
    start += length;
    return own;
  });
}

const alone = (t: number): number[] => Array<number>(t).fill(1);

/** Samples of one length each: documents that begin at the edges of tiles, beside them, and anywhere. */
const layouts: readonly { name: string; documents: readonly (readonly number[])[] }[] = [
  { name: 'one token', documents: [[1]] },
  { name: 'tokens alone, and one document', documents: [alone(17), [17]] },
  { name: 'edges of all tiles', documents: [[16, 8, 8, 16, 16, 32, 32, 64]] },
  { name: 'beside the edges', documents: [[15, 1, 9, 7, 17, 15, 33, 31], alone(128)] },
  { name: 'a long one between short ones', documents: [[3, 150, 1, 39]] },
  { name: 'long ones', documents: [[130, 127]] },
];
const heads = [
  { nHead: 2, nKvHead: 2, headSize: 5 },
  { nHead: 1, nKvHead: 1, headSize: 64 },
];
const cases = layouts.flatMap((layout) =>
  heads.flatMap((head) => [0, 0.2].map((rate) => ({ ...layout, ...head, rate }))),
);
cases.push({ ...layouts[3]!, nHead: 4, nKvHead: 2, headSize: 5, rate: 0.2 });
type Case = (typeof cases)[number];

export function documentCases(context: ContextGetter): void {
  describe('documents', () => {
    it.each(cases)(
      'attention of $name, NKV=$nKvHead HS=$headSize dropout $rate, forward and backward',
      async (shape) => {
        const k = context();
        const { input, dout } = operands(shape);
        const { b, t, nHead, headSize } = input;
        const [c, width] = [nHead * headSize, qkvWidth(input)];
        const [out, lse, dqkv] = [k.out([b, t, c]), k.out([2, b, nHead, t]), k.out([b, t, width])];
        const options = { ...shared(k, shape), qkv: k.put([b, t, width], input.qkv), lse, out };
        k.engine.attentionForward(options);
        const expected = attentionForward(input);
        await k.expectClose(out, expected.out, 'attentionForward', 'out', attentionForwardTerms(input));
        const logs = (await k.read(lse)).subarray(0, expected.lse.length);
        k.expectNumbers(logs, expected.lse, 'attentionForward', 'lse', 0, t);
        k.engine.attentionBackward({ ...options, dqkv, dout: k.put([b, t, c], dout) });
        const terms = attentionBackward(input, dout, 'terms');
        await k.expectClose(dqkv, attentionBackward(input, dout), 'attentionBackward', 'dqkv', terms);
      },
    );

    it('the position embedding, forward and backward', async () => {
      const k = context();
      const [b, t, c, v, positions] = [2, 33, 20, 7, 40];
      const starts = startsOf([[1, 16, 16], [33]]);
      const input = { tokens: seededIntegers(1, b * t, v), b, t, c, starts };
      const [wte, wpe, dout] = [unevenValues(2, v, c), seededValues(3, positions * c), unevenValues(4, b * t, c)];
      const [dwte, dwpe] = [smallValues(5, v * c), smallValues(6, positions * c)];
      const options = { tokens: k.put([b, t], input.tokens), starts: k.put([b, t], starts) };
      const gradients = { dwte: k.put([v, c], dwte), dwpe: k.put([positions, c], dwpe) };
      const out = k.out([b, t, c]);
      k.engine.embeddingForward({ ...options, out, wte: k.put([v, c], wte), wpe: k.put([positions, c], wpe) });
      const terms = reference.embeddingForward(input, wte.map(Math.abs), wpe.map(Math.abs));
      await k.expectClose(out, reference.embeddingForward(input, wte, wpe), 'embeddingForward', 'out', terms);
      k.engine.embeddingBackward({ ...options, dout: k.put([b, t, c], dout), ...gradients });
      const expected = reference.embeddingBackward(input, dout, { v, positions });
      const made = reference.embeddingBackward(input, dout.map(Math.abs), { v, positions });
      await k.expectAccumulated(gradients.dwte, dwte, expected.dwte, 'embeddingBackward', 'dwte', made.dwte);
      await k.expectAccumulated(gradients.dwpe, dwpe, expected.dwpe, 'embeddingBackward', 'dwpe', made.dwpe);
    });

    it.each([
      { starts: [0, 0, 3], what: 'after its position' },
      { starts: [0, -1, 0], what: 'before the sample' },
      { starts: [0, 1, 0], what: 'before that of the previous position' },
      { starts: [1, 1, 1], what: 'after the first position' },
      { starts: [0, 0], what: 'missing' },
    ])('refuses a start $what', ({ starts }) => {
      const k = context();
      const put = k.put([1, starts.length], Int32Array.from(starts));
      const attention = {
        qkv: k.out([1, 3, 12]),
        nHead: 2,
        lse: k.out([2, 1, 2, 3]),
        out: k.out([1, 3, 4]),
        starts: put,
      };
      expect(() => k.engine.attentionForward(attention)).toThrow(InvariantError);
      const gradients = { dqkv: k.out([1, 3, 12]), dout: k.out([1, 3, 4]) };
      expect(() => k.engine.attentionBackward({ ...attention, ...gradients })).toThrow(InvariantError);
      const tokens = k.put([1, 3], new Int32Array(3));
      const [wte, wpe, out] = [k.out([2, 4]), k.out([3, 4]), k.out([1, 3, 4])];
      expect(() => k.engine.embeddingForward({ out, tokens, wte, wpe, starts: put })).toThrow(InvariantError);
      expect(() => k.engine.embeddingBackward({ dout: out, tokens, dwpe: wpe, starts: put })).toThrow(InvariantError);
    });
  });
}

/** For engines with tensors of bfloat16. */
export function documentBfloat16Cases(context: ContextGetter): void {
  it.each(cases)(
    'documents on bfloat16: attention of $name, NKV=$nKvHead HS=$headSize dropout $rate',
    async (shape) => {
      const k = context();
      const { input: exact, dout } = operands(shape);
      const { b, t, nHead, headSize } = exact;
      const [c, width] = [nHead * headSize, qkvWidth(exact)];
      const input = { ...exact, qkv: roundedToBfloat16(exact.qkv) };
      const [out, dqkv] = [k.out([b, t, c], 'bfloat16'), k.out([b, t, width], 'bfloat16')];
      const lse = k.out([2, b, nHead, t]);
      const options = { ...shared(k, shape), qkv: k.put([b, t, width], toBfloat16(exact.qkv)), lse, out };
      k.engine.attentionForward(options);
      const expected = attentionForward(input).out;
      await k.expectClose(out, expected, 'attentionForwardBfloat16', 'out', attentionForwardTerms(input));
      k.engine.attentionBackward({ ...options, dqkv, dout: k.put([b, t, c], toBfloat16(dout)) });
      const [gradients, terms] = (['gradients', 'terms'] as const).map((of) =>
        attentionBackward(input, roundedToBfloat16(dout), of),
      );
      await k.expectClose(dqkv, gradients!, 'attentionBackwardBfloat16', 'dqkv', terms);
    },
  );
}

function operands({ documents, nHead, nKvHead, headSize, rate }: Case) {
  const starts = startsOf(documents);
  const b = documents.length;
  const t = starts.length / b;
  const c = nHead * headSize;
  const qkv = seededValues(1, b * t * qkvWidth({ nHead, nKvHead, headSize })).map((x) => 2 * x);
  const mask = dropoutMask(seededDropout(3, rate), b, nHead * t * t);
  return { input: { qkv, b, t, nHead, nKvHead, headSize, mask, starts }, dout: unevenValues(2, b * t, c) };
}

/** The options that both passes share with each other, and all types of number. */
function shared(k: KernelContext, { documents, nHead, nKvHead, rate }: Case) {
  const starts = startsOf(documents);
  const dropout = rate > 0 && { dropout: seededDropout(3, rate) };
  return { nHead, nKvHead, starts: k.put([documents.length, starts.length / documents.length], starts), ...dropout };
}
