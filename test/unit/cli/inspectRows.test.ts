/** What `launch inspect` prints of rows to learn from. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { type InspectRowsOptions, inspectRows } from '../../../src/cli/inspectRows.ts';
import { withChatTemplate } from '../../../src/data/tokenizers/chatTemplate.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { builtInTemplates } from '../../../src/task/builtInTemplates.ts';
import { trainRun } from '../run/trainedModel.ts';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-inspect-'));
  const rows = [
    { instruction: 'Add.', input: '1 + 1', output: '2' },
    {
      messages: [
        { role: 'user', content: 'Say <|endoftext|>.' },
        { role: 'assistant', content: '<|endoftext|>' },
      ],
    },
  ];
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  writeFileSync(join(folder, 'wrong.jsonl'), '{"instruction":"a","output":"b"}\n{"instruction":"a"}\n');
  writeFileSync(join(folder, 'spam.tsv'), 'ham\tthe cat\nspam\tthe mat\nham\tsat\n');
  writeFileSync(join(folder, 'pairs.json'), '[{"prompt":"a","chosen":"yes","rejected":"no"}]');
  writeFileSync(join(folder, 'a.en'), 'one\ntwo\n');
  writeFileSync(join(folder, 'a.es'), 'uno\ndos\n');
  mkdirSync(join(folder, 'chatty'));
  const tokenizer = withChatTemplate(await createTokenizer('byte', ''), builtInTemplates.plain);
  for (const [name, text] of Object.entries(tokenizer.files())) writeFileSync(join(folder, 'chatty', name), text);
  await (await trainRun(join(folder, 'run'))).dispose();
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

/** What is printed, with colours only if `color`. */
async function printed(path: string, options: Partial<InspectRowsOptions> = {}, color = false): Promise<string> {
  vi.stubEnv('FORCE_COLOR', color ? '1' : '0');
  let text = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    text += String(chunk);
    return true;
  });
  const defaults = {
    tokenizer: 'byte',
    task: undefined,
    template: 'auto',
    columns: [],
    format: undefined,
    samples: 3,
    seed: 1,
    json: false,
  };
  await inspectRows({ paths: [path], ...defaults, ...options }, folder);
  vi.restoreAllMocks();
  return text;
}

it('marks the targets of each row, and counts them', async () => {
  const text = await printed('rows.jsonl', { template: 'chatml' });
  expect(text).toContain(
    'rows.jsonl:1: 53 tokens, 2 targets\n<|im_start|>user\nAdd.\n\n1 + 1<|endoftext|>\n<|im_start|>assistant\n«2<|endoftext|>»\n',
  );
  // The first is text, the second the token.
  expect(text).toContain('«<|endoftext|><|endoftext|>»');
  expect(text).toMatch(
    /\ntargets are between « and »\n2 examples, 16 of 125 tokens are targets, all end with <\|endoftext\|>\n/,
  );
  expect(text).toMatch(/\ntask sft, byte tokenizer; the longest example has 72 tokens \(rows\.jsonl:2\)\n$/);
});

it('colours them instead where it may', async () => {
  const text = await printed('rows.jsonl', { template: 'plain', samples: 1 }, true);
  expect(text).toContain('\u001b[32m');
  expect(text).not.toContain('«');
});

it('takes the tokenizer and the template of a checkpoint, or the tokenizer of a run', async () => {
  expect(await printed('rows.jsonl', { tokenizer: 'chatty' })).toContain('\nAdd.\n\n1 + 1«2<|endoftext|>»\n');
  const text = await printed('spam.tsv', { tokenizer: 'run', columns: ['label', 'text'] });
  expect(text).toContain('the mat → spam\n');
  expect(text).toContain('3 examples, 3 of 17 tokens are targets\ntask classify, ');
  expect(text).toContain('\nlabels: ham 2, spam 1\n');
});

it('prints one JSON object', async () => {
  const { samples, ...facts } = JSON.parse(await printed('pairs.json', { json: true, template: 'plain' })) as {
    samples: unknown[];
  };
  expect(facts).toEqual({
    ...{ task: 'dpo', tokenizer: 'byte', examples: 1, tokens: 7, targets: 7 },
    ...{ longest: { tokens: 4, at: 'pairs.json:1' }, endToken: '<|endoftext|>', unended: 0 },
  });
  const parts = (answer: string) => [
    { text: 'a', isTarget: false },
    { text: `${answer}<|endoftext|>`, isTarget: true },
  ];
  const texts = [
    { name: 'chosen', parts: parts('yes') },
    { name: 'rejected', parts: parts('no') },
  ];
  expect(samples).toEqual([{ at: 'pairs.json:1', tokens: 7, targets: 7, texts }]);
});

it('of a table with other columns, offers every form of row and says how to name columns', async () => {
  writeFileSync(join(folder, 'foreign.csv'), 'v1,v2\nham,the cat\n');
  const forms = [
    '{chosen, rejected}, {text, label}, {source, target}, {instruction, output}, {messages}, {conversations}, {prompt, completion}, {text}',
  ];
  await expect(printed('foreign.csv')).rejects.toThrow(
    `foreign.csv:2: expected a row with one of ${forms}, received one with "v1", "v2". ` +
      'If the row has them under other names, take these: --columns text=NAME,label=OTHER. If it is a table without a header row, name its columns: --columns label,text',
  );
  writeFileSync(join(folder, 'more.csv'), 'v1,v2,,\nham,the cat,,\nspam,the mat,1,\n');
  expect(await printed('more.csv', { columns: ['label=v1', 'text=v2'] })).toContain('\nlabels: ham 1, spam 1\n');
});

it('reads a file in the given format, whatever its name says', async () => {
  writeFileSync(join(folder, 'spam.txt'), 'ham\tthe "cat\nspam\tthe mat\n');
  const text = await printed('spam.txt', { format: 'tsv', columns: ['label', 'text'] });
  expect(text).toContain('the "cat → ham\n');
  await expect(printed('spam.txt')).rejects.toThrow(
    /^inspect: spam\.txt is text, not rows.* say which, as in --format jsonl/,
  );
});

it('refuses a wrong row with its place, and a tokenizer that does not exist', async () => {
  await expect(printed('wrong.jsonl')).rejects.toThrow(/^wrong\.jsonl:2: expected a text in output/);
  await expect(printed('rows.jsonl', { tokenizer: 'gtp2' })).rejects.toThrow(
    /^--tokenizer: expected one of char, .* received gtp2$/,
  );
});

it('shows sources and their targets, of aligned text files', async () => {
  const text = await printed('a.en', { paths: ['a.en', 'a.es'] });
  expect(text).toContain(
    'a.en:2: 8 tokens, 4 targets\nsource: two<|endoftext|>\ntarget: <|endoftext|>«dos<|endoftext|>»\n',
  );
  expect(text).toMatch(
    /\n2 examples, 8 of 16 tokens are targets, all end with <\|endoftext\|>\ntask seq2seq, byte tokenizer; /,
  );
  await expect(printed('a.en', { task: 'seq2seq' })).rejects.toThrow(
    /^inspect: found only a\.en\. Expected the text file of its targets as well \(--targets\), or rows/,
  );
});
