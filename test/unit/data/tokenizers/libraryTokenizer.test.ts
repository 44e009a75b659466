import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../../../src/base/errors.ts';
import { createTokenizer, tokenizerFromFiles } from '../../../../src/data/tokenizers/openTokenizer.ts';
import { encodeWithSpecialTokens } from '../../../../src/data/tokenizers/specialTokens.ts';
import { tokenizerHash } from '../../../../src/data/tokenizers/tokenizerHash.ts';
import { byteFallbackFiles, unigramFiles } from './huggingFaceFiles.ts';
import { anyText, trickyText } from './texts.ts';

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-tokenizer-'));
  mkdirSync(join(cwd, 't5'));
  for (const [name, content] of Object.entries(unigramFiles)) writeFileSync(join(cwd, 't5', name), content);
  writeFileSync(join(cwd, 'llama.json'), byteFallbackFiles['tokenizer.json'] ?? '');
  mkdirSync(join(cwd, 'empty'));
});
afterAll(() => {
  rmSync(cwd, { recursive: true });
});

const texts = fc.oneof(anyText, trickyText, fc.stringMatching(/^[a-z ]{0,60}$/));
const families = { unigram: unigramFiles, byteFallback: byteFallbackFiles };

describe.each(['unigram', 'byteFallback'] as const)('%s', (family) => {
  const files = families[family];

  it("encodes as Hugging Face's library does where there is no special token in the text", async () => {
    const tokenizer = await tokenizerFromFiles(files, 'folder');
    const reference = new HuggingFaceTokenizer(JSON.parse(files['tokenizer.json'] ?? ''), {});
    fc.assert(
      fc.property(texts, (text) => {
        fc.pre(!/<(\/s|s|pad|unk)>/.test(text));
        expect([...tokenizer.encode(text)]).toEqual(reference.encode(text, { add_special_tokens: false }).ids);
      }),
    );
  });

  it('decodes token by token what it decodes at once, and as the library does', async () => {
    const tokenizer = await tokenizerFromFiles(files, 'folder');
    const reference = new HuggingFaceTokenizer(JSON.parse(files['tokenizer.json'] ?? ''), {});
    fc.assert(
      fc.property(texts, (text) => {
        const tokens = [...tokenizer.encode(text)];
        fc.pre(tokens.length > 0 && !tokens.includes(JSON.parse(files['tokenizer.json'] ?? '').model.unk_id ?? 0));
        const decoder = tokenizer.streamDecoder();
        const streamed = tokens.map((token) => decoder.push(token)).join('') + decoder.flush();
        expect(streamed).toBe(tokenizer.decode(tokens));
        expect(streamed).toBe(reference.decode(tokens, { clean_up_tokenization_spaces: false }));
      }),
    );
  });

  it('makes no special token of plain text, and shows those that a model makes', async () => {
    const tokenizer = await tokenizerFromFiles(files, 'folder');
    const end = tokenizer.endOfText ?? -1;
    expect(end).toBe(family === 'unigram' ? 1 : 2);
    const tokens = [...tokenizer.encode('a</s> the <s>')];
    expect(tokens.every((token) => token >= 3)).toBe(true);
    expect(tokenizer.decode(tokens)).toBe('a</s> the <s>');
    expect(tokenizer.decode([...tokens, end])).toBe('a</s> the <s></s>');
    expect(tokenizer.decode([end, 1e6])).toBe('</s>\ufffd');
    expect(encodeWithSpecialTokens(tokenizer, 'a</s>').at(-1)).toBe(end);
  });

  it('writes the files it was read from', async () => {
    const tokenizer = await tokenizerFromFiles(files, 'folder');
    expect(tokenizer.files()).toEqual(files);
    expect(tokenizer.kind).toBe('folder/tokenizer.json');
    expect(tokenizerHash(await tokenizerFromFiles(tokenizer.files()))).toBe(tokenizerHash(tokenizer));
  });
});

describe('a text that is long', () => {
  it('is encoded in parts that end with a line, and a long word where a character ends', async () => {
    const tokenizer = await tokenizerFromFiles(byteFallbackFiles);
    const lines = 'the heat\n'.repeat(20_000);
    const steps = tokenizer.encodeSteps(lines);
    const ends: number[] = [];
    let step = steps.next();
    for (; !step.done; step = steps.next()) ends.push(step.value);
    expect(ends.length).toBeGreaterThan(3);
    expect(ends.every((end) => lines[end - 1] === '\n')).toBe(true);
    expect(step.value).toEqual(tokenizer.encode(lines));
    const word = '🙂'.repeat(50_000);
    // Each part begins with a space, as each text does.
    expect(tokenizer.decode(tokenizer.encode(word)).replaceAll(' ', '') === word).toBe(true);
    const unigram = await tokenizerFromFiles(unigramFiles);
    expect(unigram.encode('x'.repeat(200_000)).length).toBeGreaterThan(200_000);
  });
});

describe('a tokenizer by path', () => {
  it('is a folder, a tokenizer.json in it, or a file of another name', async () => {
    const folder = await createTokenizer('./t5', '', { cwd });
    expect(folder.kind).toBe('./t5');
    expect(folder.endOfText).toBe(1);
    expect(folder.files()).toEqual(unigramFiles);
    expect((await createTokenizer('t5/tokenizer.json', '', { cwd })).files()).toEqual(unigramFiles);
    const file = await createTokenizer('llama.json', '', { cwd });
    expect(file.vocabSize).toBe(270);
    expect(file.files()['tokenizer_config.json']).toContain('PreTrainedTokenizerFast');
  });

  it('may be one that we have: it is ours then', async () => {
    const trained = await createTokenizer('bpe:300', 'a text, a text and another text');
    mkdirSync(join(cwd, 'trained'));
    for (const [name, content] of Object.entries(trained.files())) writeFileSync(join(cwd, 'trained', name), content);
    const read = await createTokenizer('./trained', '', { cwd });
    expect(read.encode('another text')).toEqual(trained.encode('another text'));
    expect(read.endOfText).toBe(trained.endOfText);
    expect(tokenizerHash(read)).toBe(tokenizerHash(trained));
  });

  it('is refused with its path if it does not exist, or is not a tokenizer', async () => {
    const refusal = async (name: `${string}/${string}`) => {
      const error = await createTokenizer(name, '', { cwd }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(UserError);
      return (error as UserError).message;
    };
    expect(await refusal('no/such')).toMatch(
      /data\.tokenizer: no\/such: expected Hugging Face's tokenizer\.json.*there is no such file or folder/,
    );
    expect(await refusal('./empty')).toContain('there is no such file or folder');
    writeFileSync(join(cwd, 'empty', 'tokenizer.json'), '{"model": {"type": "WordLevel", "vocab": {}}}');
    expect(await refusal('./empty')).toBe(
      './empty/tokenizer.json: expected a model of the type BPE or Unigram, received WordLevel.',
    );
  });
});
