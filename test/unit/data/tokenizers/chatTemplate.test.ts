import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../../../src/base/errors.ts';
import {
  chatTemplateIn,
  openTemplate,
  templateOf,
  withChatTemplate,
} from '../../../../src/data/tokenizers/chatTemplate.ts';
import { createTokenizer, tokenizerFromFiles } from '../../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../../src/data/tokenizers/tokenizer.ts';
import { tokenizerHash } from '../../../../src/data/tokenizers/tokenizerHash.ts';

let folder: string;
let char: Tokenizer;
let byte: Tokenizer;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'chat-template-'));
  char = await createTokenizer('char', 'abc', { endOfText: true });
  byte = await createTokenizer('byte', '');
});
afterAll(() => rm(folder, { recursive: true }));

const configOf = (tokenizer: Tokenizer) =>
  JSON.parse(tokenizer.files()['tokenizer_config.json'] ?? '{}') as Record<string, unknown>;

it('a template travels in the files of a tokenizer, which stay the same otherwise', async () => {
  for (const tokenizer of [char, byte]) {
    const templated = withChatTemplate(tokenizer, 'mine {{ eos_token }}');
    expect(configOf(templated)).toEqual({ ...configOf(tokenizer), chat_template: 'mine {{ eos_token }}' });
    expect(tokenizerHash(templated)).toBe(tokenizerHash(tokenizer));
    expect(templated.encode('abc')).toEqual(tokenizer.encode('abc'));
    expect(templated.streamDecoder().push(templated.endOfText!)).toBe('<|endoftext|>');
    const loaded = await tokenizerFromFiles(templated.files());
    expect(loaded.files()).toEqual(templated.files());
    expect(templateOf(loaded)?.source).toBe('mine {{ eos_token }}');
    expect(templateOf(tokenizer)).toBeUndefined();
  }
});

it('replaces a template that is a file of its own, which transformers prefers', async () => {
  const files = { ...byte.files(), 'chat_template.jinja': 'theirs' };
  const loaded = await tokenizerFromFiles(files);
  expect(templateOf(loaded)?.source).toBe('theirs');
  const replaced = withChatTemplate(loaded, 'mine').files();
  expect(replaced['chat_template.jinja']).toBeUndefined();
  expect(chatTemplateIn(replaced, 'here')).toBe('mine');
});

describe('the forms in which Hugging Face stores a template', () => {
  const inConfig = (chat_template: unknown) => ({ 'tokenizer_config.json': JSON.stringify({ chat_template }) });
  it.each([
    [{}, undefined],
    [inConfig(null), undefined],
    [inConfig('one'), 'one'],
    [
      inConfig([
        { name: 'rag', template: 'two' },
        { name: 'default', template: 'one' },
      ]),
      'one',
    ],
    [{ ...inConfig('one'), 'chat_template.jinja': 'file' }, 'file'],
  ])('%j', (files, source) => {
    expect(chatTemplateIn(files, 'here')).toBe(source);
  });

  it.each([3, {}, [], [{ name: 'rag', template: 'two' }]])('refuses %j', (template) => {
    expect(() => chatTemplateIn(inConfig(template), 'here')).toThrow(
      'here/tokenizer_config.json: chat_template: expected a text, or an array of {name, template}',
    );
  });
});

describe('task.template', () => {
  const render = { addGenerationPrompt: false, end: '<|endoftext|>' };

  it('auto is the template of the tokenizer, otherwise alpaca', async () => {
    expect((await openTemplate('auto', byte, folder)).name).toBe('alpaca');
    expect((await openTemplate('auto', withChatTemplate(byte, 'mine'), folder)).source).toBe('mine');
    expect((await openTemplate('chatml', withChatTemplate(byte, 'mine'), folder)).name).toBe('chatml');
  });

  it('a path is a Jinja file, which sees the names of the special tokens', async () => {
    await writeFile(join(folder, 'mine.jinja'), '{{ bos_token }} {{ eos_token }} {{ pad_token }}');
    const files = { ...byte.files(), 'special_tokens_map.json': '{"pad_token":{"content":"<pad>"}}' };
    const config = { ...configOf(byte), bos_token: '<s>' };
    const tokenizer = await tokenizerFromFiles({ ...files, 'tokenizer_config.json': JSON.stringify(config) });
    const template = await openTemplate('mine.jinja', tokenizer, folder);
    expect(template.render([], render)).toBe('<s> <|endoftext|> <pad>');
  });

  it('refuses what cannot be read, is too large or does not parse', async () => {
    await writeFile(join(folder, 'large.jinja'), 'x'.repeat(2 ** 20 + 1));
    await writeFile(join(folder, 'open.jinja'), '{% for %}');
    const refusal = async (choice: string): Promise<string> => {
      const error = await openTemplate(choice, byte, folder).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toBeInstanceOf(UserError);
      return (error as UserError).message;
    };
    expect(await refusal('alpacca')).toMatch(
      /^task\.template: expected auto, alpaca, chatml, plain, or the path of a Jinja chat template, but alpacca cannot be read/,
    );
    expect(await refusal('large.jinja')).toMatch(/large\.jinja has 1048577 bytes, more than 1048576\./);
    expect(await refusal('open.jinja')).toMatch(/^the chat template open\.jinja is not a Jinja template/);
  });
});
