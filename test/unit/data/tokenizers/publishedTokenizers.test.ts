import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readCorpus } from '../../../../src/data/corpus.ts';
import { ByteLevelTokenizer } from '../../../../src/data/tokenizers/byteLevelTokenizer.ts';
import { createTokenizer, tokenizerFromFiles } from '../../../../src/data/tokenizers/openTokenizer.ts';
import { type PieceEnd, pieceEnds } from '../../../../src/data/tokenizers/preTokenizers.ts';
import { anyText, trickyText } from './texts.ts';

/** JavaScript's `\s` differs from White_Space in two characters, and its `i` does not know the long s. */
const differing = /[\u0085\ufeff\u017f]/g;
const sameEverywhere = (text: string) => text.search(differing) < 0;
const texts = fc.oneof(anyText, trickyText).filter(sameEverywhere);

/** The encoders of the package that the ranks come from. */
const references = {
  gpt2: () => import('gpt-tokenizer/encoding/r50k_base'),
  cl100k: () => import('gpt-tokenizer/encoding/cl100k_base'),
  o200k: () => import('gpt-tokenizer/encoding/o200k_base'),
};

const anyCase = "'(?:[sS]|[dD]|[mM]|[tT]|[lL][lL]|[vV][eE]|[rR][eE])";

/** The published patterns, for JavaScript. */
const patterns = {
  gpt2: /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu,
  cl100k: new RegExp(
    String.raw`${anyCase}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+$|\s*[\r\n]|\s+(?!\S)|\s`,
    'gu',
  ),
  o200k: new RegExp(
    String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:${anyCase})?|` +
      String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:${anyCase})?|` +
      String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    'gu',
  ),
};

function pieces(text: string, pieceEnd: PieceEnd): string[] {
  const found: string[] = [];
  for (let start = 0; start < text.length; start += found.at(-1)?.length ?? 0) {
    found.push(text.slice(start, pieceEnd(text, start)));
  }
  return found;
}

describe.each(['gpt2', 'cl100k', 'o200k'] as const)('%s', (kind) => {
  it('splits text as the published pattern does', () => {
    fc.assert(
      fc.property(texts, (text) => {
        expect(pieces(text, pieceEnds[kind])).toEqual(text.match(patterns[kind]) ?? []);
      }),
      { numRuns: 1000 },
    );
  });

  it("encodes as the ranks' own library does, and gives the text back", async () => {
    const tokenizer = await createTokenizer(kind, '');
    const { encode } = await references[kind]();
    const expected = (text: string) => encode(text, { disallowedSpecial: new Set() });
    const { text: corpus } = await readCorpus({ text: 'src/**/*.ts', cwd: '.' });
    const plain = corpus.slice(0, 500_000).replaceAll(differing, '');
    expect([...tokenizer.encode(plain)]).toEqual(expected(plain));
    fc.assert(
      fc.property(texts, (text) => {
        const tokens = tokenizer.encode(text);
        expect([...tokens]).toEqual(expected(text));
        expect(tokenizer.decode(tokens)).toBe(text);
      }),
      { numRuns: 500 },
    );
  });

  it('is the same tokenizer when it is read from the files it writes, here and in another program', async () => {
    const tokenizer = await createTokenizer(kind, '');
    const files = tokenizer.files();
    const loaded = await tokenizerFromFiles(files);
    const reference = new HuggingFaceTokenizer(JSON.parse(files['tokenizer.json'] ?? ''), {});
    expect(loaded).toMatchObject({ kind, vocabSize: tokenizer.vocabSize, endOfText: tokenizer.endOfText });
    expect(loaded.files()).toEqual(files);
    fc.assert(
      fc.property(texts, (text) => {
        const tokens = tokenizer.encode(text);
        expect(loaded.encode(text)).toEqual(tokens);
        fc.pre(!text.includes('<|endoftext|>'));
        expect(reference.encode(text, { add_special_tokens: false }).ids).toEqual([...tokens]);
      }),
    );
  });
});

describe('a file of another program', () => {
  const gpt2Json = async () => JSON.parse((await createTokenizer('gpt2', '')).files()['tokenizer.json'] ?? '');
  const read = (json: object) => tokenizerFromFiles({ 'tokenizer.json': JSON.stringify(json) });

  it('is read in the forms that Hugging Face has had', async () => {
    const gpt2 = await createTokenizer('gpt2', '');
    const first = await gpt2Json();
    delete first.model.type;
    first.pre_tokenizer = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
    const newest = await gpt2Json();
    newest.model.merges = newest.model.merges.map((merge: string) => merge.split(' '));
    newest.model.ignore_merges = false;
    for (const json of [first, newest]) {
      const loaded = await read(json);
      expect(loaded).toBeInstanceOf(ByteLevelTokenizer);
      expect(loaded).toMatchObject({ kind: 'bpe:50257', vocabSize: 50_257, endOfText: 50_256 });
      expect(loaded.encode("It's a text.")).toEqual(gpt2.encode("It's a text."));
    }
  });

  it('goes to the library where it asks for what our encoder does not do', async () => {
    const text = "It's a text.";
    const changed = async (change: (json: Awaited<ReturnType<typeof gpt2Json>>) => void) => {
      const json = await gpt2Json();
      change(json);
      const loaded = await read(json);
      expect(loaded).not.toBeInstanceOf(ByteLevelTokenizer);
      expect([...loaded.encode(text)]).toEqual(
        new HuggingFaceTokenizer(json, {}).encode(text, { add_special_tokens: false }).ids,
      );
    };
    await changed((json) => {
      json.normalizer = { type: 'Lowercase' };
    });
    await changed((json) => {
      json.pre_tokenizer.add_prefix_space = true;
    });
    await changed((json) => {
      json.model.ignore_merges = true;
    });
    await changed((json) => {
      json.added_tokens.push({ ...json.added_tokens[0], id: 50_257, content: ' text', special: false });
    });
  });
});

describe('of 50,257, 100,277 and 200,019 tokens', () => {
  it('encodes what tiktoken is known to', async () => {
    const cl100k = await createTokenizer('cl100k', '');
    const o200k = await createTokenizer('o200k', '');
    expect([cl100k.vocabSize, cl100k.endOfText]).toEqual([100_277, 100_257]);
    expect([o200k.vocabSize, o200k.endOfText]).toEqual([200_019, 199_999]);
    expect([...cl100k.encode('hello world')]).toEqual([15339, 1917]);
    expect([...o200k.encode('hello world')]).toEqual([24912, 2375]);
    expect(cl100k.encode('hello')).toBeInstanceOf(Uint32Array);
    // Ids that no token has.
    expect(cl100k.decode([100_256, 15339, 100_270])).toBe('\ufffdhello\ufffd');
  });

  it('counts the long s as an s in a contraction, as tiktoken does', () => {
    expect(pieces("it'\u017f so", pieceEnds.cl100k)).toEqual(['it', "'\u017f", ' so']);
    expect(pieces("it'\u017f so", pieceEnds.o200k)).toEqual(["it'\u017f", ' so']);
  });
});
