/** Begin tokens are those that transformers adds, before each text and nothing else (test/fixtures/llama/makeBeginTokens.py). */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../../../src/base/packageRoot.ts';
import { JobEncoder } from '../../../../src/data/prepare/encodeJob.ts';
import { prepareFields } from '../../../../src/data/prepare/fields.ts';
import { targetBytes } from '../../../../src/data/textBytes.ts';
import { openTextDataset } from '../../../../src/data/textDataset.ts';
import { openTemplate, templateOf, withChatTemplate } from '../../../../src/data/tokenizers/chatTemplate.ts';
import { tokenizerFromFiles } from '../../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../../src/data/tokenizers/tokenizer.ts';
import { promptTokens } from '../../../../src/run/continueText.ts';
import { ChatFormat } from '../../../../src/task/chatFormat.ts';
import { classifyTask } from '../../../../src/task/classify.ts';
import { textTask } from '../../../../src/task/textRows.ts';
import { textTokens } from '../../../../src/task/textTokens.ts';
import { byteFallbackFiles, unigramFiles } from './huggingFaceFiles.ts';

const fixtures = join(packageRoot, 'test/fixtures/llama');
const textOf = (name: string): string => readFileSync(join(fixtures, name), 'utf8');
const { texts, template, messages, cases } = JSON.parse(textOf('beginTokens.json'));
const source = JSON.parse(textOf('llama/tokenizer.json'));
const settings = JSON.parse(textOf('llama/tokenizer_config.json'));

const open = (name: string, more: object = {}): Promise<Tokenizer> => {
  const { post_processor, settings: own } = cases[name];
  return tokenizerFromFiles({
    'tokenizer.json': JSON.stringify({ ...source, post_processor }),
    'tokenizer_config.json': JSON.stringify({ ...settings, ...own, ...more }),
  });
};

it.each(Object.keys(cases))("%s: a text has transformers' tokens, and a chat those of its template", async (name) => {
  const tokenizer = await open(name, { chat_template: template });
  expect(texts.map((text: string) => textTokens(tokenizer, text))).toEqual(cases[name].ids);
  const format = new ChatFormat(templateOf(tokenizer)!, tokenizer);
  expect(format.encode(format.segments(messages)).tokens).toEqual(cases[name].chat);
});

it('SentencePiece models have them too, but not what follows a text', async () => {
  const json = JSON.parse(byteFallbackFiles['tokenizer.json']!);
  const single = [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
  const post_processor = { type: 'TemplateProcessing', single, pair: [], special_tokens: { '<s>': { ids: [1] } } };
  const files = { ...byteFallbackFiles, 'tokenizer.json': JSON.stringify({ ...json, post_processor }) };
  const tokenizer = await tokenizerFromFiles(files);
  expect(textTokens(tokenizer, 'a')).toEqual([1, ...tokenizer.encode('a')]);
  expect((await tokenizerFromFiles(unigramFiles)).beginTokens).toEqual([]);
  const broken = JSON.stringify({ ...json, post_processor: { ...post_processor, special_tokens: [] } });
  await expect(tokenizerFromFiles({ ...files, 'tokenizer.json': broken }, 'folder')).rejects.toThrow(
    /^folder\/tokenizer.json: post_processor: special_tokens: .* The file is damaged\.$/,
  );
});

it.each([70_000, 5])('must be special tokens of the file: %i is not', async (unknown) => {
  const { post_processor } = cases.llama3;
  const text = JSON.stringify(post_processor).replace('"ids":[0]', `"ids":[${unknown}]`);
  const json = JSON.stringify({ ...source, post_processor: JSON.parse(text) });
  await expect(tokenizerFromFiles({ 'tokenizer.json': json }, 'folder')).rejects.toThrow(
    `folder/tokenizer.json: post_processor: "<|begin_of_text|>" has the id ${unknown}, which is not one of the special tokens`,
  );
});

describe('of Llama 3', () => {
  let cwd: string;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    cwd = mkdtempSync(join(tmpdir(), 'lockstep-begin-'));
    tokenizer = await open('llama3');
  });
  afterAll(() => rmSync(cwd, { recursive: true }));
  const ids = (text: string): number[] => [...tokenizer.encode(text)];

  it('precede a prompt once, which may then be empty', () => {
    expect(promptTokens(tokenizer, 'you')).toEqual([0, ...ids('you')]);
    expect(promptTokens(tokenizer, '')).toEqual([0]);
    expect(promptTokens(tokenizer, '<|begin_of_text|>you', true)).toEqual([0, ...ids('you')]);
    expect(promptTokens(tokenizer, '<|begin_of_text|>you')).toEqual([0, ...ids('<|begin_of_text|>you')]);
  });

  it('precede rows, and are not learned', () => {
    const lm = textTask({ tokenizer });
    const { tokens, targets } = lm.encode({ at: 'rows:1', text: 'you' }) as Record<string, number[]>;
    expect(tokens).toEqual([0, ...ids('you')]);
    expect(targets).toEqual([...ids('you'), 1]);
    const classes = classifyTask({ tokenizer, labels: ['a', 'b'] });
    expect(classes.encode({ at: 'rows:1', text: 'you', label: 1 })['tokens']).toEqual([0, ...ids('you')]);
  });

  it('precede each document of prepared data, once', () => {
    const chunk = (text: string, offset: number, isEnd: boolean) =>
      ({ kind: 'text', name: 'a.txt', bytes: new TextEncoder().encode(text), offset, isEnd }) as const;
    const encoded = new JobEncoder(tokenizer, tokenizer.endOfText).encode({
      chunks: [chunk('you', 0, false), chunk('the', 3, true), chunk('see', 0, true)],
      fields: prepareFields('text'),
      skipBad: false,
      lineEndings: 'lf',
    });
    expect('tokens' in encoded && [...encoded.tokens]).toEqual([
      0,
      ...ids('you'),
      ...ids('the'),
      1,
      0,
      ...ids('see'),
      1,
    ]);
  });

  it('precede a text that is trained on or measured, without adding to its bytes', async () => {
    const text = 'they see you '.repeat(20);
    writeFileSync(join(cwd, 'text.txt'), text);
    const data = { text: 'text.txt', shards: [], field: 'text', format: 'auto', lineEndings: 'lf', valFraction: 0.5 };
    const dataset = await openTextDataset(
      { ...data, tokenizer: 'byte' } as never,
      { cwd, tokenizer, vocabSize: 0 } as never,
    );
    const half = text.slice(0, text.length / 2);
    expect([...(dataset.train as Uint16Array)]).toEqual([0, ...ids(half)]);
    expect([...(dataset.val as Uint16Array)]).toEqual(ids(text.slice(text.length / 2)));
    const steps = targetBytes(tokenizer, Uint16Array.of(0, ...ids('you'), 1, 0, ...ids('see')));
    let step = steps.next();
    while (!step.done) step = steps.next();
    expect(step.value).toBe(6);
  });

  it('are part of the built-in templates, also in the template that a checkpoint keeps', async () => {
    const builtIn = await openTemplate('chatml', tokenizer, cwd);
    expect(builtIn.addsUp).toBe(true);
    const kept = withChatTemplate(tokenizer, builtIn.source);
    for (const format of [new ChatFormat(builtIn, tokenizer), new ChatFormat(templateOf(kept)!, kept)]) {
      const { tokens } = format.encode(format.segments(messages));
      expect(tokens.slice(0, 2)).toEqual([0, ids('<|im_start|>')[0]]);
      expect(tokens.filter((token) => token === 0)).toHaveLength(1);
    }
    expect((await openTemplate('chatml', await open('none'), cwd)).source).not.toContain('begin_of_text');
  });
});
