/** Parts of a text, encoded one by one, are the text encoded at once. */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { partEnd } from '../../../../src/data/prepare/cuts.ts';
import { createTokenizer } from '../../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../../src/data/tokenizers/tokenizer.ts';

/** What splitters treat in ways of their own, next to any text. */
const snippet = fc.oneof(
  fc.constantFrom(
    "'s",
    "'ll",
    "don't",
    ' ',
    '  ',
    '\n',
    '\n\n',
    '\r\n',
    '\n\n ',
    '\t',
    '...',
    ' -- ',
    '42',
    ' 1,000',
    'a',
    ' the',
  ),
  fc.constantFrom(
    'Ünïcode',
    '漢字 ',
    '한국어\n',
    'e\u0301 ',
    '🙂',
    '\u00a0',
    '\u2028',
    '\u0085',
    '١٢٣ ',
    '_x',
    '\ufeff',
  ),
  fc.string({ unit: 'grapheme', maxLength: 6 }),
);
const texts = fc
  .array(snippet, { minLength: 10, maxLength: 60, size: 'max' })
  .map((parts) => parts.join('').toWellFormed());

/** The parts of a text that arrives in pieces of `arrival` bytes. */
function partsOf(text: string, aim: number, arrival = Number.MAX_SAFE_INTEGER, max = 1_000_000): string[] {
  const bytes = Buffer.from(text);
  const parts: string[] = [];
  for (let start = 0, known = Math.min(arrival, bytes.length); start < bytes.length; ) {
    const end = partEnd(bytes.subarray(start, known), known === bytes.length, { aim, max });
    if (end === undefined) known = Math.min(bytes.length, known + arrival);
    else {
      parts.push(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(start, start + end)));
      start += end;
    }
  }
  return parts;
}

describe('partEnd', () => {
  let gpt2: Tokenizer;
  beforeAll(async () => {
    gpt2 = await createTokenizer('gpt2', '');
  });

  it("cuts where GPT-2's tokens are those of the complete text", () => {
    fc.assert(
      fc.property(texts, fc.integer({ min: 1, max: 60 }), (text, aim) => {
        const parts = partsOf(text, aim);
        expect(parts.join('')).toBe(text);
        expect(parts.flatMap((part) => [...gpt2.encode(part)])).toEqual([...gpt2.encode(text)]);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['cl100k', () => import('gpt-tokenizer/encoding/cl100k_base')],
    ['o200k', () => import('gpt-tokenizer/encoding/o200k_base')],
  ])('and those of %s, which splits in another way', async (_, load) => {
    const { encode } = await load();
    fc.assert(
      fc.property(texts, fc.integer({ min: 1, max: 60 }), (text, aim) => {
        expect(partsOf(text, aim).flatMap((part) => encode(part))).toEqual(encode(text));
      }),
      { numRuns: 1_000 },
    );
  });

  it('cuts at the same places however the text arrives', () => {
    fc.assert(
      fc.property(texts, fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 50 }), (text, aim, arrival) => {
        expect(partsOf(text, aim, arrival, 100)).toEqual(partsOf(text, aim, undefined, 100));
      }),
    );
  });

  it('really cuts: words are in parts of about the aim', () => {
    const parts = partsOf('word '.repeat(1_000), 64);
    expect(parts.length).toBeGreaterThan(75);
    expect(Math.max(...parts.map(({ length }) => length))).toBeLessThanOrEqual(64);
    expect(partsOf('слово '.repeat(100), 64).length).toBeGreaterThan(15);
    expect(partsOf('一行文字。\n'.repeat(100), 64).length).toBe(25);
  });

  it('cuts a text without such a place between characters, at the most', () => {
    const parts = partsOf('🙂'.repeat(100), 10, undefined, 50);
    expect(parts.join('')).toBe('🙂'.repeat(100));
    expect(parts.every((part) => [24, 8].includes(part.length))).toBe(true);
  });
});
