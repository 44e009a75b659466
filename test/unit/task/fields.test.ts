import { describe, expect, it } from 'vitest';
import type { Batch, BatchArray } from '../../../src/base/batch.ts';
import { PeerError } from '../../../src/base/errors.ts';
import { checkBatch, type FieldRules } from '../../../src/task/fields.ts';
import { asTokenBatch, tokenBatch, tokenFields } from '../../../src/task/nextToken.ts';

const rules = tokenFields({ blockSize: 4, vocabSize: 10 });
const tokens = (...data: number[]): BatchArray => ({ shape: [3], data: Int32Array.from(data) });
const good: Batch = {
  sampleCount: 2,
  arrays: { tokens: tokens(0, 1, 2, 3, 4, 9), targets: tokens(1, 2, 3, 4, 9, -1) },
};

describe('a batch that came from outside', () => {
  it('may have shorter samples than the model takes, masked targets, or none at all', () => {
    expect(() => checkBatch(good, rules)).not.toThrow();
    const none = { shape: [4], data: new Int32Array(0) };
    expect(() => checkBatch({ sampleCount: 0, arrays: { tokens: none, targets: none } }, rules)).not.toThrow();
  });

  it.each<[string, Partial<Record<string, BatchArray>>, RegExp]>([
    ['a token outside the vocabulary', { tokens: tokens(0, 1, 2, 3, 4, 10) }, /tokens: .*from 0 to 9, received 10/],
    ['a negative token', { tokens: tokens(0, 1, 2, 3, 4, -1) }, /tokens: .*received -1/],
    ['a target below -1', { targets: tokens(0, 1, 2, 3, 4, -2) }, /targets: .*from -1 to 9, received -2/],
    ['other numbers', { tokens: { shape: [3], data: new Float32Array(6) } }, /expected int32 .* received float32/],
    ['longer samples', { tokens: { shape: [5], data: new Int32Array(10) } }, /int32 \[T ≤ 4\], received int32 \[5\]/],
    ['more axes', { tokens: { shape: [3, 1], data: new Int32Array(6) } }, /received int32 \[3, 1\]/],
    ['axes of two lengths', { targets: { shape: [4], data: new Int32Array(8) } }, /T ≤ 3\], received int32 \[4\]/],
    ['too few numbers', { targets: { shape: [3], data: new Int32Array(3) } }, /targets: expected 2 samples/],
    ['an array that nobody asked for', { weights: tokens(1, 1, 1, 1, 1, 1) }, /received targets, tokens, weights/],
  ])('is refused with %s', (_, change, message) => {
    const batch = { sampleCount: 2, arrays: { ...good.arrays, ...change } as Batch['arrays'] };
    expect(() => checkBatch(batch, rules)).toThrow(message);
    expect(() => checkBatch(batch, rules)).toThrow(PeerError);
  });

  it('is refused without an array', () => {
    const batch = { sampleCount: 2, arrays: { tokens: good.arrays['tokens']! } };
    expect(() => checkBatch(batch, rules)).toThrow(/expected samples of targets, tokens, received tokens/);
  });

  it('has axes of a fixed length beside those that vary', () => {
    const axes = [{ name: 'sides', min: 2, max: 2 }];
    const fixed: FieldRules = { ...rules, reference: { dtype: 'float32', axes, min: -9, max: 0 } };
    const of = (length: number): Batch => {
      const reference = { shape: [length], data: new Float32Array(2 * length) };
      return { sampleCount: 2, arrays: { ...good.arrays, reference } };
    };
    expect(() => checkBatch(of(2), fixed)).not.toThrow();
    for (const length of [1, 3]) {
      expect(() => checkBatch(of(length), fixed)).toThrow(`float32 [sides = 2], received float32 [${length}]`);
    }
  });

  it('has no NaN', () => {
    const scores: FieldRules = { score: { dtype: 'float32', axes: [], min: -1, max: 1 } };
    const of = (value: number): Batch => {
      return { sampleCount: 1, arrays: { score: { shape: [], data: Float32Array.of(value) } } };
    };
    expect(() => checkBatch(of(0.5), scores)).not.toThrow();
    expect(() => checkBatch(of(Number.NaN), scores)).toThrow(/received NaN/);
  });
});

describe('a batch of tokens', () => {
  it('has full rows', () => {
    expect(tokenBatch(new Int32Array(6), new Int32Array(6), 3)).toMatchObject({ sampleCount: 2 });
    expect(() => tokenBatch(new Int32Array(7), new Int32Array(7), 3)).toThrow(/rows of 3 tokens/);
    expect(() => tokenBatch(new Int32Array(6), new Int32Array(5), 3)).toThrow(/as many targets/);
  });

  it('is seen in a batch of such arrays alone', () => {
    expect(asTokenBatch(good).arrays.tokens.data).toBe(good.arrays['tokens']!.data);
    expect(() => asTokenBatch({ sampleCount: 1, arrays: { score: tokens(1) } })).toThrow(/received score/);
  });
});
