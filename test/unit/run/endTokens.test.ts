/** Texts end at the model's end token, wherever they are generated, unless the user asks to ignore it. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { withChatTemplate } from '../../../src/data/tokenizers/chatTemplate.ts';
import { createTokenizer, tokenizerFromFiles } from '../../../src/data/tokenizers/openTokenizer.ts';
import { continueText, continueTextOften } from '../../../src/run/continueText.ts';
import { Conversation } from '../../../src/run/conversation.ts';
import { endTokensOf } from '../../../src/run/endTokens.ts';
import type { LoadedModel } from '../../../src/run/loadModel.ts';
import { type GenerateTextOptions, TrainedModel } from '../../../src/run/trainedModel.ts';
import { loadChatModel } from './chatModel.ts';

let folder: string;
let loaded: LoadedModel;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-end-'));
  loaded = await loadChatModel(folder);
});
afterAll(async () => {
  await loaded.engine.dispose();
  rmSync(folder, { recursive: true });
});

const drawn = { maxTokens: 30, temperature: 1, topK: 0, topP: 1 };
const end = '<|endoftext|>';

async function textOf(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}

/** A seed whose text has the end token after some characters and before others, and that text. */
async function seedWithEnd(): Promise<{ seed: number; text: string; all: string }> {
  for (let seed = 0; seed < 100; seed++) {
    const all = (await textOf(continueText(loaded, { prompt: 'the', ...drawn, seed, ignoreEos: true }))).slice(3);
    const at = all.indexOf(end);
    if (at > 1 && at + end.length < all.length) return { seed, text: all.slice(0, at), all };
  }
  throw new Error('no seed gives an end token');
}

describe('the end tokens', () => {
  it('are those of the tokenizer and of the chat template', async () => {
    expect(endTokensOf(await createTokenizer('char', 'abc'))).toEqual([]);
    expect(endTokensOf(await createTokenizer('gpt2', ''))).toEqual([50256]);
    // A template that ends its answers with another special token than the one that ends a document.
    const { kind, vocabSize, endOfText, ...tokenizer } = await createTokenizer('char', 'abc', { endOfText: true });
    const specialTokens = new Map([
      ['<|endoftext|>', 3],
      ['<|im_end|>', 4],
    ]);
    const base = await createTokenizer('char', 'abc', { endOfText: true });
    const both = {
      ...{ ...tokenizer, kind, vocabSize: vocabSize + 1, endOfText, specialTokens },
      encode: (text: string) => base.encode(text),
      encodeSteps: (text: string) => base.encodeSteps(text),
      decode: (tokens: Iterable<number>) => base.decode(tokens),
      streamDecoder: () => base.streamDecoder(),
      files: () => base.files(),
    };
    const source = "{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}";
    expect(endTokensOf(withChatTemplate(both, source))).toEqual([4, 3]);
    // A template that renders nothing says nothing about the end of a text.
    expect(endTokensOf(withChatTemplate(both, '{{ raise_exception("no") }}'))).toEqual([3]);
    expect(endTokensOf(withChatTemplate(both, '{% for'))).toEqual([3]);
  });

  it("are also those of the folder's generation_config.json, with and without a chat template", async () => {
    const copy = join(folder, 'llama');
    cpSync(join(packageRoot, 'test/fixtures/llama/llama'), copy, { recursive: true });
    writeFileSync(join(copy, 'generation_config.json'), '{"eos_token_id": [1, 7, 9], "temperature": 0.6}');
    const { tokenizerFiles } = await openCheckpoint(copy);
    const tokenizer = await tokenizerFromFiles(tokenizerFiles);
    expect(endTokensOf(tokenizer)).toEqual([1, 7, 9]);
    const chat = withChatTemplate(tokenizer, '{% for m in messages %}{{ m.content + eos_token }}{% endfor %}');
    expect(endTokensOf(chat)).toEqual([1, 7, 9]);
    // A new model that takes only the tokenizer of the folder ends its answers in the same way.
    expect(endTokensOf(await createTokenizer('./llama', '', { cwd: folder }))).toEqual([1, 7, 9]);
    // A checkpoint of a run that continues this model keeps the file.
    expect(chat.files()['generation_config.json']).toContain('[1, 7, 9]');
    const damaged = { ...tokenizerFiles, 'generation_config.json': '{"eos_token_id": "</s>"}' };
    await expect(tokenizerFromFiles(damaged, 'folder')).rejects.toThrow(/^folder\/generation_config.json: expected/);
  });
});

describe('a text ends at the end token, which is not part of it', () => {
  it('in generate, in several samples, in a conversation and in the library', async () => {
    const { seed, text, all } = await seedWithEnd();
    const options = { ...drawn, seed };
    expect(await textOf(continueText(loaded, { prompt: 'the', ...options }))).toBe(`the${text}`);
    const samples = continueTextOften(loaded, { prompt: 'the', ...options }, { count: 1, together: 2 });
    for await (const sample of samples) expect(sample).toEqual({ index: 0, text, finish: 'stop' });
    expect(await textOf(new Conversation(loaded, { ...options, maxTokens: 20 }).answer('the'))).not.toContain(end);
    const model = new TrainedModel(loaded);
    expect(await textOf(model.generate('the', options))).toBe(text);
    expect(await textOf(model.generate('the', { ...options, ignoreEos: true }))).toBe(all);
  });
});

describe('a conversation that is cleared', () => {
  it('answers as at its start', async () => {
    const conversation = new Conversation(loaded, { ...drawn, seed: 3, maxTokens: 8, ignoreEos: true });
    const first = await textOf(conversation.answer('the'));
    await textOf(conversation.answer('cat'));
    conversation.clear();
    expect(conversation.text).toBe('');
    expect(await textOf(conversation.answer('the'))).toBe(first);
  });
});

it('a program draws with min-p and a penalty for repetition', async () => {
  const model = new TrainedModel(loaded);
  const texts = async (options: GenerateTextOptions) =>
    await textOf(model.generate('the', { ...drawn, seed: 1, ...options }));
  const greedy = await texts({ temperature: 0 });
  expect(await texts({ minP: 1 })).toBe(greedy);
  expect(await texts({ temperature: 0, repetitionPenalty: 5 })).not.toBe(greedy);
  await expect(texts({ minP: 2 })).rejects.toThrow('minP: expected a number from 0 to 1, received 2');
  await expect(texts({ repetitionPenalty: 0 })).rejects.toThrow(
    'repetitionPenalty: expected a number from 0.01 to 100',
  );
});
