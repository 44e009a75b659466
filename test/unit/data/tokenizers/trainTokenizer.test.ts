import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readCorpus } from '../../../../src/data/corpus.ts';
import { createTokenizer, tokenizerFromFiles } from '../../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../../src/data/tokenizers/tokenizer.ts';
import type { TrainingProgress } from '../../../../src/data/tokenizers/trainTokenizer.ts';
import { WordCounts } from '../../../../src/data/tokenizers/wordCounts.ts';
import { anyText, trickyText } from './texts.ts';

const pattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** The merges of a trained tokenizer, each as its two tokens in the characters of vocab.json. */
const mergesOf = (tokenizer: Tokenizer): string[] =>
  (tokenizer.files()['merges.txt'] ?? '').trimEnd().split('\n').slice(1);

/** A trainer as one writes it down first: it counts all pairs again for every merge. Ids and tie-break are those of the real one. */
function naiveMerges(texts: readonly string[], wanted: number): string[] {
  const visible = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
  let next = 256;
  const characters = Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(visible(byte) ? byte : next++));
  const names = [...characters].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
  const words = texts
    .flatMap((text) => text.match(pattern) ?? [])
    .map((word) => [...new TextEncoder().encode(word)].map((byte) => names.indexOf(characters[byte]!)));
  const merges: string[] = [];
  while (merges.length < wanted) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]} ${word[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const ranked = [...counts].map(([pair, count]) => ({
      count,
      ids: pair.split(' ').map(Number) as [number, number],
    }));
    const [best] = ranked.sort((a, b) => b.count - a.count || a.ids[0] - b.ids[0] || a.ids[1] - b.ids[1]);
    if (best === undefined) break;
    const [left, right] = best.ids;
    merges.push(`${names[left]} ${names[right]}`);
    const merged = names.push(`${names[left]}${names[right]}`) - 1;
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++)
        if (word[i] === left && word[i + 1] === right) word.splice(i, 2, merged);
    }
  }
  return merges;
}

describe('bpe:N', () => {
  it('finds the merges that a straightforward trainer finds', async () => {
    // Few letters, so that runs, overlaps and ties are everywhere.
    const runs = fc.stringMatching(/^[ab ]{0,80}$/);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(runs, trickyText, anyText), { maxLength: 6 }), async (texts) => {
        const tokenizer = await createTokenizer('bpe:300', texts);
        const expected = naiveMerges(texts, 300 - 257);
        expect(mergesOf(tokenizer)).toEqual(expected);
        expect(tokenizer.vocabSize).toBe(257 + expected.length);
      }),
      { numRuns: 60 },
    );
  });

  it('finds them in real text too', async () => {
    const { text } = await readCorpus({ text: 'docs/*.md', cwd: '.' });
    expect(mergesOf(await createTokenizer('bpe:400', text))).toEqual(naiveMerges([text], 143));
  });

  it('numbers the bytes as GPT-2 does, then the merges, then the end of the text', async () => {
    const tokenizer = await createTokenizer('bpe:259', 'hug hug hugs pug');
    expect(tokenizer.kind).toBe('bpe:259');
    expect(tokenizer).toMatchObject({ vocabSize: 259, endOfText: 258 });
    expect(mergesOf(tokenizer)).toEqual(['u g', 'h ug']);
    expect([...tokenizer.encode('!ug hug')]).toEqual([0, 256, 220, 257]);
    expect(tokenizer.decode([258])).toBe('<|endoftext|>');
    const gpt2 = await createTokenizer('gpt2', '');
    for (let id = 0; id < 256; id++) expect(tokenizer.decode([id])).toBe(gpt2.decode([id]));
  });

  it('has fewer tokens than it was asked for where the text has no more pairs', async () => {
    expect((await createTokenizer('bpe:8000', 'ab')).vocabSize).toBe(258);
    expect((await createTokenizer('bpe:257', 'a text')).vocabSize).toBe(257);
    expect((await createTokenizer('bpe:8000', '')).vocabSize).toBe(257);
  });

  it('gives back any text, through its files as well, and encodes as Hugging Face does with them', async () => {
    const { text: corpus } = await readCorpus({ text: 'docs/**/*.md', cwd: '.' });
    const tokenizer = await createTokenizer('bpe:2000', corpus);
    const files = tokenizer.files();
    const loaded = await tokenizerFromFiles(files);
    expect(loaded).toMatchObject({ kind: 'bpe:2000', vocabSize: 2000, endOfText: 1999 });
    expect(loaded.files()).toEqual(files);
    const reference = new HuggingFaceTokenizer(JSON.parse(files['tokenizer.json'] ?? ''), {});
    fc.assert(
      fc.property(fc.oneof(anyText, trickyText), (text) => {
        const tokens = tokenizer.encode(text);
        expect(tokenizer.decode(tokens)).toBe(text);
        expect(loaded.encode(text)).toEqual(tokens);
        expect([...tokens]).not.toContain(1999);
        fc.pre(!/[\u0085\ufeff]|<\|endoftext\|>/.test(text));
        expect([...tokens]).toEqual(reference.encode(text, { add_special_tokens: false }).ids);
      }),
    );
  });

  it('takes a text in parts, from wherever they come, and says how far it is', async () => {
    const parts = Array.from({ length: 40 }, (_, i) => `part ${i} of a text that is longer than one `.repeat(1000));
    async function* slowly(): AsyncGenerator<string> {
      for (const part of parts) yield part;
    }
    const progress: TrainingProgress[] = [];
    const tokenizer = await createTokenizer('bpe:400', slowly(), { onProgress: (step) => progress.push(step) });
    expect(mergesOf(tokenizer)).toEqual(mergesOf(await createTokenizer('bpe:400', parts)));
    const long = parts.join('');
    await createTokenizer('bpe:400', long, { onProgress: (step) => progress.push(step) });
    expect(progress).toContainEqual({ phase: 'merging', done: 64, total: 143 });
    const counted = progress.filter(({ phase }) => phase === 'counting words').map(({ done }) => done);
    expect(counted.length).toBeGreaterThan(0);
    expect(Math.max(...counted)).toBeLessThanOrEqual(long.length);
  });

  it('is trained on a word of a megabyte, in time that does not grow with its square', async () => {
    const word = Array.from({ length: 1_000_000 }, (_, i) => 'etaoinshrdlu'[(i * i + (i >> 3)) % 12]).join('');
    const tokenizer = await createTokenizer('bpe:2000', word);
    expect(tokenizer.decode(tokenizer.encode(word)) === word).toBe(true);
  }, 60_000);
});

describe('WordCounts', () => {
  const counted = (texts: Iterable<string>, unitsMax: number): Map<string, number> => {
    const words = new WordCounts(unitsMax);
    for (const text of texts) for (const _ of words.addSteps(text)) expect.unreachable('a short text is one slice');
    return new Map(words.entries());
  };
  const unitsOf = (words: Map<string, number>): number => [...words.keys()].join('').length;
  /** Letters that are different for each number. */
  const word = (number: number): string => `${number}`.replace(/\d/g, (digit) => 'abcdefghij'[Number(digit)]!);

  it('counts every word where there is room', () => {
    expect(counted(['a b b', ' b c'], 100)).toEqual(
      new Map([
        ['a', 1],
        [' b', 3],
        [' c', 1],
      ]),
    );
  });

  it('forgets the rarest words when there are too many, and counts exactly those that come often', () => {
    const texts = Array.from({ length: 5000 }, (_, i) => ` the of and rare${word(i)}`);
    const words = counted(texts, 4000);
    expect(unitsOf(words)).toBeGreaterThan(1900);
    expect(unitsOf(words)).toBeLessThanOrEqual(4000);
    for (const often of [' the', ' of', ' and']) expect(words.get(often)).toBe(5000);
    // It has the last of the rare ones.
    expect(words.has(` rare${word(4999)}`)).toBe(true);
    expect(words.has(` rare${word(0)}`)).toBe(false);
  });

  it('keeps a sample where no word comes twice', () => {
    const words = counted(
      Array.from({ length: 5000 }, (_, i) => `once${word(i)}`),
      4000,
    );
    expect(unitsOf(words)).toBeGreaterThan(1900);
    expect(unitsOf(words)).toBeLessThanOrEqual(4000);
    expect(new Set(words.values())).toEqual(new Set([1]));
  });

  it('forgets a word that is longer than everything it may remember', () => {
    expect([...counted([`a b ${'x'.repeat(500)} c`], 100).keys()]).not.toContain(` ${'x'.repeat(500)}`);
  });
});

describe('byte', () => {
  it('has a token for each byte, of its value, and one for the end of the text', async () => {
    const tokenizer = await createTokenizer('byte', '');
    expect(tokenizer).toMatchObject({ kind: 'byte', vocabSize: 257, endOfText: 256 });
    const reference = new HuggingFaceTokenizer(JSON.parse(tokenizer.files()['tokenizer.json'] ?? ''), {});
    const loaded = await tokenizerFromFiles(tokenizer.files());
    expect(loaded.kind).toBe('byte');
    fc.assert(
      fc.property(fc.oneof(anyText, trickyText), (text) => {
        const tokens = tokenizer.encode(text);
        expect([...tokens]).toEqual([...new TextEncoder().encode(text)]);
        expect(tokenizer.decode(tokens)).toBe(text);
        expect(loaded.encode(text)).toEqual(tokens);
        fc.pre(!text.includes('<|endoftext|>'));
        expect(reference.encode(text, { add_special_tokens: false }).ids).toEqual([...tokens]);
      }),
    );
    const long = '🙂'.repeat(1_500_000);
    expect(tokenizer.decode(tokenizer.encode(`a${long}`)) === `a${long}`).toBe(true);
  });
});
