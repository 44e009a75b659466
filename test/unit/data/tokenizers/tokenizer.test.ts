import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../../../src/base/errors.ts';
import { readCorpus } from '../../../../src/data/corpus.ts';
import { classAt, lower, other } from '../../../../src/data/tokenizers/characterClasses.ts';
import { createTokenizer, tokenizerFromFiles } from '../../../../src/data/tokenizers/openTokenizer.ts';
import { encodeWithSpecialTokens } from '../../../../src/data/tokenizers/specialTokens.ts';
import type { Tokenizer } from '../../../../src/data/tokenizers/tokenizer.ts';
import { anyText, trickyText } from './texts.ts';

let gpt2: Tokenizer;
beforeAll(async () => {
  gpt2 = await createTokenizer('gpt2', '');
});

/** Loads `files` as another program would. */
function inHuggingFace(tokenizer: Tokenizer): HuggingFaceTokenizer {
  const files = tokenizer.files();
  return new HuggingFaceTokenizer(
    JSON.parse(files['tokenizer.json'] ?? ''),
    JSON.parse(files['tokenizer_config.json'] ?? ''),
  );
}

async function refusal(action: Promise<unknown>): Promise<string> {
  const error = await action.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UserError);
  return (error as UserError).message;
}

describe('gpt2', () => {
  it('has the 50,257 tokens of GPT-2 and its known encodings', () => {
    expect(gpt2.vocabSize).toBe(50_257);
    expect([...gpt2.encode('Hello, world!')]).toEqual([15496, 11, 995, 0]);
    expect([...gpt2.encode(" I'll  say\n\n'tis 1997…")]).toEqual([314, 1183, 220, 910, 198, 198, 470, 271, 8309, 1399]);
    expect(gpt2.decode([15496, 11, 995, 0])).toBe('Hello, world!');
    expect([...gpt2.encode('')]).toEqual([]);
  });

  it('gives back any text', () => {
    fc.assert(fc.property(fc.oneof(anyText, trickyText), (text) => gpt2.decode(gpt2.encode(text)) === text));
  });

  it('encodes as Hugging Face does with the files it writes', () => {
    const reference = inHuggingFace(gpt2);
    fc.assert(
      fc.property(fc.oneof(anyText, trickyText), (text) => {
        // JavaScript's \s, which the reference uses, differs from Unicode's White_Space in these two; and it makes one token of
        // <|endoftext|>, which plain text must not.
        fc.pre(!/[\u0085\ufeff]|<\|endoftext\|>/.test(text));
        expect([...gpt2.encode(text)]).toEqual(reference.encode(text, { add_special_tokens: false }).ids);
      }),
      { numRuns: 300 },
    );
  });

  it('encodes sources and documentation as Hugging Face does', async () => {
    const { text: source } = await readCorpus({ text: ['src/**/*.ts', 'docs/**/*.md'], cwd: '.' });
    // Hugging Face makes one token of it wherever it stands; plain text that spells it out must not become one.
    const text = source.replaceAll('<|endoftext|>', '');
    expect([...gpt2.encode(text)]).toEqual(inHuggingFace(gpt2).encode(text, { add_special_tokens: false }).ids);
  });

  it('never makes a special token of plain text', () => {
    const tokens = gpt2.encode('a<|endoftext|>b');
    expect([...tokens]).not.toContain(50_256);
    expect(gpt2.decode(tokens)).toBe('a<|endoftext|>b');
    expect(gpt2.decode([50_256])).toBe('<|endoftext|>');
  });

  it('makes special tokens of their names for those who ask', async () => {
    const text = 'a<|endoftext|><|endoftext|> b';
    expect([...encodeWithSpecialTokens(gpt2, text)]).toEqual([64, 50_256, 50_256, 275]);
    expect([...encodeWithSpecialTokens(gpt2, '')]).toEqual([]);
    const char = await createTokenizer('char', text);
    expect(encodeWithSpecialTokens(char, text)).toEqual(char.encode(text));
    const cl100k = await createTokenizer('cl100k', '');
    expect([...encodeWithSpecialTokens(cl100k, '<|fim_prefix|>(a|b)')]).toEqual([100_258, ...cl100k.encode('(a|b)')]);
  });

  it('encodes long runs as the short loop would, and in slices as at once', () => {
    // Above and below the length where the heap takes over, the same letters must give the same tokens.
    const run = (length: number) => Array.from({ length }, (_, i) => 'etaoinshrdlu'[(i * i + (i >> 3)) % 12]).join('');
    const reference = inHuggingFace(gpt2);
    for (const length of [40, 119, 120, 121, 122, 200, 1000]) {
      expect([...gpt2.encode(run(length))], `${length}`).toEqual(
        reference.encode(run(length), { add_special_tokens: false }).ids,
      );
    }
    const long = `${run(300_000)} ${'word '.repeat(200_000)}${' '.repeat(300_000)}${'é'.repeat(100_000)}`;
    const steps = gpt2.encodeSteps(long);
    let done = 0;
    for (let step = steps.next(); !step.done; step = steps.next()) {
      expect(step.value).toBeGreaterThan(done);
      done = step.value;
    }
    expect(done).toBeGreaterThan(0);
    expect(gpt2.decode(gpt2.encode(long))).toBe(long);
  });

  it('encodes a word of a megabyte, and other runs without a break, in time that is linear', () => {
    // A quadratic encoder would take hours for each.
    const letters = Array.from({ length: 1_000_000 }, (_, i) => 'etaoinshrdlu'[(i * i + (i >> 3)) % 12]).join('');
    for (const text of [
      letters,
      ' '.repeat(1_000_000),
      ' \n'.repeat(500_000),
      '👩‍👩‍👧'.repeat(125_000),
      '7'.repeat(1_000_000),
    ]) {
      const tokens = gpt2.encode(text);
      expect(gpt2.decode(tokens) === text).toBe(true);
    }
    expect(gpt2.encode('a'.repeat(1_000_000))).toHaveLength(250_000);
  }, 60_000);

  it('streams text without breaking characters that are several tokens long', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const decoder = gpt2.streamDecoder();
        const pieces = [...gpt2.encode(text)].map((token) => decoder.push(token));
        expect(pieces.join('') + decoder.flush()).toBe(text);
        expect(pieces.join('')).not.toContain('\ufffd'.repeat(text.includes('\ufffd') ? text.length + 1 : 1));
      }),
    );
  });

  it('shows half a character and ids outside the vocabulary as U+FFFD', () => {
    const [first] = gpt2.encode('🙂');
    expect(gpt2.decode([first ?? 0])).toBe('\ufffd');
    expect(gpt2.decode([50_300])).toBe('\ufffd');
    expect(gpt2.decode([15496, 50_300, 0])).toBe('Hello\ufffd!');
  });

  it("counts tiny shakespeare's tokens as GPT-2 does", async () => {
    const { text } = await readCorpus({ text: 'builtin', cwd: '.' });
    // nanoGPT's split and counts of this file.
    const boundary = Math.floor(text.length * 0.9);
    expect(gpt2.encode(text.slice(0, boundary))).toHaveLength(301_966);
    expect(gpt2.encode(text.slice(boundary))).toHaveLength(36_059);
    const { encode } = await import('gpt-tokenizer/encoding/r50k_base');
    const tokens = gpt2.encode(text);
    expect(tokens).toHaveLength(338_025);
    expect(tokens).toEqual(Uint16Array.from(encode(text)));
  });

  it('writes a tokenizer that loads again, and the files of the slow loader', async () => {
    const files = gpt2.files();
    const loaded = await tokenizerFromFiles(files);
    expect(loaded.kind).toBe('gpt2');
    expect(Object.keys(JSON.parse(files['vocab.json'] ?? ''))).toHaveLength(50_257);
    const merges = (files['merges.txt'] ?? '').split('\n');
    expect(merges[0]).toBe('#version: 0.2');
    expect(merges[1]).toBe('Ġ t');
    expect(merges).toHaveLength(50_002);
    expect(JSON.parse(files['vocab.json'] ?? '')['Ġthe']).toBe(262);
  });
});

describe('char', () => {
  it('numbers the distinct characters by code point', async () => {
    const tokenizer = await createTokenizer('char', 'bca\n😀a');
    expect(tokenizer.vocabSize).toBe(5);
    expect([...tokenizer.encode('\nabc😀')]).toEqual([0, 1, 2, 3, 4]);
    expect(tokenizer.encode('a')).toBeInstanceOf(Uint16Array);
  });

  it('gives back any text made of its characters, through its files as well, and as Hugging Face does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(anyText, trickyText), async (text) => {
        fc.pre(text !== '');
        const tokenizer = await createTokenizer('char', text);
        const tokens = tokenizer.encode(text);
        expect(tokenizer.decode(tokens)).toBe(text);
        expect(Math.max(...tokens)).toBe(tokenizer.vocabSize - 1);
        const loaded = await tokenizerFromFiles(tokenizer.files());
        expect(loaded.encode(text)).toEqual(tokens);
        expect(loaded.files()).toEqual(tokenizer.files());
        expect(inHuggingFace(tokenizer).encode(text, { add_special_tokens: false }).ids).toEqual([...tokens]);
      }),
    );
  });

  it('takes four bytes a token above 65,536 characters', async () => {
    const all = Array.from({ length: 70_000 }, (_, i) => String.fromCodePoint(0x1_0000 + i)).join('');
    const tokens = (await createTokenizer('char', all)).encode(all);
    expect(tokens).toBeInstanceOf(Uint32Array);
    expect(tokens[69_999]).toBe(69_999);
  });

  it('names the characters that it does not know', async () => {
    const tokenizer = await createTokenizer('char', 'abc');
    expect(() => tokenizer.encode('abcé\u0007é')).toThrow(UserError);
    expect(() => tokenizer.encode('abcé\u0007é')).toThrow(
      'not among the 3 characters of this tokenizer: "é" (U+00E9), U+0007.',
    );
    expect(() => tokenizer.encode('0123456789ABCDEF')).toThrow('and 6 more');
  });

  it('decodes an id outside the vocabulary as U+FFFD', async () => {
    expect((await createTokenizer('char', 'abc')).decode([0, 7])).toBe('a\ufffd');
  });

  it('has an end-of-document token after its characters if one is requested, and through its files', async () => {
    const tokenizer = await createTokenizer('char', 'cab|<>', { endOfText: true });
    expect([tokenizer.vocabSize, tokenizer.endOfText]).toEqual([7, 6]);
    expect([...tokenizer.specialTokens]).toEqual([['<|endoftext|>', 6]]);
    expect(tokenizer.decode([...tokenizer.encode('cab'), 6])).toBe('cab<|endoftext|>');
    expect([...encodeWithSpecialTokens(tokenizer, 'a<|endoftext|>b')]).toEqual([2, 6, 3]);
    expect(() => tokenizer.encode('x')).toThrow('not among the 6 characters of this tokenizer');
    const loaded = await tokenizerFromFiles(tokenizer.files());
    expect(loaded.files()).toEqual(tokenizer.files());
    expect(loaded.endOfText).toBe(6);
    const theirs = inHuggingFace(tokenizer);
    expect(theirs.encode('cab<|endoftext|>', { add_special_tokens: false }).ids).toEqual([4, 2, 3, 6]);
    expect((await createTokenizer('char', 'abc')).endOfText).toBeUndefined();
  });

  it('refuses files with other special tokens', async () => {
    const files = (await createTokenizer('char', 'abc', { endOfText: true })).files();
    const json = JSON.parse(files['tokenizer.json']!) as { added_tokens: { id: number; content: string }[] };
    for (const wrong of [{ id: 1 }, { content: '<|im_end|>' }]) {
      const changed = JSON.stringify({ ...json, added_tokens: [{ ...json.added_tokens[0], ...wrong }] });
      const opened = tokenizerFromFiles({ ...files, 'tokenizer.json': changed }, 'here');
      expect(await refusal(opened)).toMatch(
        /^here\/tokenizer\.json: expected a character tokenizer, received special tokens other/,
      );
    }
  });
});

describe('damaged tokenizer files', () => {
  it('are refused with the file and the reason', async () => {
    const files = (await createTokenizer('char', 'abc')).files();
    const withJson = (json: string) => tokenizerFromFiles({ ...files, 'tokenizer.json': json }, 'step-1');
    const changed = (part: { vocab?: Record<string, number>; pre_tokenizer?: object }) => {
      const { model, ...json } = JSON.parse(files['tokenizer.json'] ?? '');
      const { vocab = model.vocab, ...rest } = part;
      return withJson(JSON.stringify({ ...json, ...rest, model: { ...model, vocab } }));
    };
    expect(await refusal(tokenizerFromFiles({}, 'step-1'))).toContain(
      'step-1/tokenizer.json: expected this file, but it is missing',
    );
    expect(await refusal(withJson('{"model": '))).toContain('step-1/tokenizer.json: expected JSON');
    expect(await refusal(withJson('{}'))).toContain('not a tokenizer this version can read: model');
    expect(await refusal(withJson('7'))).toContain('not a tokenizer this version can read');
    expect(await refusal(changed({ vocab: { a: 0, b: 2 } }))).toContain('ids 0 to 1, each once');
    expect(await refusal(changed({ vocab: { a: 0, b: 0 } }))).toContain('ids 0 to 1, each once');
    expect(await refusal(changed({ vocab: {} }))).toContain('damaged');
    expect(await refusal(changed({ vocab: { ab: 0 } }))).toContain('tokens of several characters');
    expect(await refusal(changed({ pre_tokenizer: { type: 'Nonsense' } }))).toContain(
      'step-1/tokenizer.json: not a tokenizer this version can read: Unknown PreTokenizer type: Nonsense',
    );
    expect(await refusal(withJson('{"model": {"type": "WordPiece", "vocab": {}}}'))).toContain(
      'expected a model of the type BPE or Unigram, received WordPiece',
    );
  });

  it('may lack bytes that the text does not have, as those do that were trained without an initial alphabet', async () => {
    const json = JSON.parse(gpt2.files()['tokenizer.json'] ?? '');
    const vocab: Record<string, number> = { a: 0, b: 1, Ġ: 2, ab: 3, Ġab: 4 };
    const small = { ...json, model: { ...json.model, vocab, merges: ['a b', 'Ġ ab'] }, added_tokens: [] };
    const tokenizer = await tokenizerFromFiles({ 'tokenizer.json': JSON.stringify(small) }, 'course');
    expect([...tokenizer.encode('ab ab b')]).toEqual([3, 4, 2, 1]);
    expect(tokenizer.decode([3, 4, 2, 1])).toBe('ab ab b');
    expect(() => tokenizer.encode('abé\u0007c')).toThrow(
      /bytes for which the tokenizer .* has no token: "é" \(U\+00E9\), U\+0007, "c" \(U\+0063\)\. Leave them out/,
    );
    expect(() => tokenizer.encode('é')).toThrow(UserError);
    const none = { ...small, model: { ...small.model, vocab: { ab: 0 }, merges: [] } };
    expect(await refusal(tokenizerFromFiles({ 'tokenizer.json': JSON.stringify(none) }, 'none'))).toContain(
      'it has no token for any single byte',
    );
  });

  it('have the classes of Unicode 16, whatever the version of Node', () => {
    // Letters of Unicode 17, which are not letters in 16; and one that was a letter in lower case there.
    expect([classAt('\u{16ea0}', 0), classAt('\u{323b0}', 0), classAt('\ua7ce', 0)]).toEqual([other, other, other]);
    expect(classAt('\u0295', 0)).toBe(lower);
    expect([...'a\u{16ea0}b'].map((character) => classAt(character, 0))).toEqual([lower, other, lower]);
    expect([...gpt2.encode('word\u{16ea0}word')]).toEqual(
      ['word', '\u{16ea0}', 'word'].flatMap((piece) => [...gpt2.encode(piece)]),
    );
  });

  it('split at U+0085 and not at U+FEFF where there are added tokens too, as GPT-2 does', async () => {
    const json = JSON.parse(gpt2.files()['tokenizer.json'] ?? '');
    const added = {
      id: 50_257,
      content: '[ADDED]',
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: false,
    };
    const pretokenizers = [json.pre_tokenizer];
    for (const pre_tokenizer of [json.pre_tokenizer, { type: 'Sequence', pretokenizers }]) {
      const changed = { ...json, pre_tokenizer, added_tokens: [...json.added_tokens, added] };
      const tokenizer = await tokenizerFromFiles({ 'tokenizer.json': JSON.stringify(changed) }, 'added');
      for (const text of ['\ufeffword \ufeff word', 'a\u0085b', 'a \u0085 \u0085b', 'end\u0085', '!\ufeff!']) {
        expect([...tokenizer.encode(text)]).toEqual([...gpt2.encode(text)]);
      }
      expect([...tokenizer.encode('a[ADDED]')]).toEqual([...gpt2.encode('a'), 50_257]);
    }
  });

  it('are refused where a byte-level encoding lacks a token of a merge, or has two tokens of one id', async () => {
    const text = gpt2.files()['tokenizer.json'] ?? '';
    const changed = (change: (model: { vocab: Record<string, number>; merges: string[] }) => void) => {
      const json = JSON.parse(text);
      change(json.model);
      return refusal(tokenizerFromFiles({ 'tokenizer.json': JSON.stringify(json) }, 'step-1'));
    };
    expect(await changed(({ vocab }) => delete vocab['Ġthe'])).toContain(
      'the merge "Ġt he" is not of three of its tokens',
    );
    expect(await changed(({ merges }) => merges.push('Ġt'))).toContain('the merge "Ġt" is not of three');
    expect(await changed(({ vocab }) => Object.assign(vocab, { Ġthe: 50 }))).toContain('two tokens have the id 50');
    expect(await changed(({ vocab }) => Object.assign(vocab, { 日: 50_257 }))).toContain(
      '"日" is not a string of bytes',
    );
  });
});
