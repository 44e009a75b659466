/** A default prompt fits any text; one that the user chose is refused if it does not. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { withFittingPrompt } from '../../../src/run/fittingPrompt.ts';
import { prepareRun, type RunArguments } from '../../../src/run/prepareRun.ts';

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-prompt-'));
  writeFileSync(join(cwd, 'ru.txt'), '\u0416\u0438\u043b \u0434\u0430 \u0431\u044b\u043b. '.repeat(200));
  writeFileSync(join(cwd, 'one.txt'), 'abcdefgh'.repeat(200));
  writeFileSync(join(cwd, 'emoji.txt'), '\u{1f600}'.repeat(1_000));
  writeFileSync(join(cwd, 'rows.jsonl'), '{"text":"one two three"}\n'.repeat(20));
  writeFileSync(join(cwd, 'short.jsonl'), '{"text":"ab"}\n'.repeat(20));
  writeFileSync(join(cwd, 'own.yaml'), 'data:\n  text: ru.txt\nsample:\n  prompt: once\n');
  writeFileSync(join(cwd, 'none.yaml'), 'data:\n  text: one.txt\n');
});
afterAll(() => rmSync(cwd, { recursive: true }));

async function prepare(args: Partial<RunArguments>): Promise<{ prompt: string; notes: string[]; description: string }> {
  const notes: string[] = [];
  const messages = { note: (line: string) => notes.push(line), warn: () => {}, progress: () => () => {} };
  const run = await prepareRun({ singleProcess: true, encrypt: true, dryRun: true, ...args }, cwd, messages);
  return { prompt: run.config.sample.prompt, notes, description: run.data.description };
}

describe('the prompt of the samples', () => {
  it('of a shipped config gives way to the first word of a text without its letters, with a notice', async () => {
    const { prompt, notes } = await prepare({ set: ['data.text=ru.txt'] });
    expect(prompt).toBe('\u0416\u0438\u043b');
    expect(notes).toEqual([expect.stringContaining('samples continue "\u0416\u0438\u043b" from the text')]);
  });

  it('a line feed, gives way where the text has none, or no words', async () => {
    for (const args of [{ config: 'none.yaml' }, { config: { data: { text: 'one.txt' } } }]) {
      expect((await prepare(args)).prompt).toBe('abcdefghabcdefgh');
    }
  });

  it('gives way where rows of text have no line feed, and the end of a short row is not part of it', async () => {
    for (const [file, start] of [
      ['rows.jsonl', 'one'],
      ['short.jsonl', 'ab'],
    ]) {
      const { prompt, notes } = await prepare({ config: { data: { examples: file! } } });
      expect(prompt).toBe(start);
      expect(notes.filter((note) => note.includes(`samples continue "${start}" from the examples`))).toHaveLength(1);
    }
  });

  it('gives way to none, with a notice, where neither it nor the data has one', async () => {
    const tokenizer = await createTokenizer('char', 'xyz');
    const notes: string[] = [];
    const data = { kind: 'examples', tokenizer, opening: '' } as const;
    const options = { isChosen: false, note: (line: string) => void notes.push(line) };
    expect(withFittingPrompt(configSchema.parse({}), data, options).sample.maxTokens).toBe(0);
    expect(notes).toEqual([expect.stringMatching(/^the run writes no samples, because the default sample\.prompt: /)]);
  });

  it('stays where it fits', async () => {
    writeFileSync(join(cwd, 'code.ts'), readFileSync(join(packageRoot, 'src/index.ts')));
    const { prompt, notes } = await prepare({ set: ['data.text=code.ts'] });
    expect(prompt).toBe('\n');
    expect(notes).toEqual([]);
  });

  it.each<[string, Partial<RunArguments>]>([
    ['an override', { set: ['data.text=ru.txt', 'sample.prompt=once'] }],
    ["the user's file", { config: 'own.yaml' }],
    ["the user's object", { config: { data: { text: 'ru.txt' }, sample: { prompt: 'once' } } }],
  ])('that %s chose is refused', async (_, args) => {
    const refusal = prepare(args);
    await expect(refusal).rejects.toThrow(UserError);
    await expect(refusal).rejects.toThrow('sample.prompt: the text has characters that are not among the');
  });

  it('is not looked at where there are no samples', async () => {
    const { prompt } = await prepare({ set: ['data.text=ru.txt', 'sample.prompt=once', 'sample.maxTokens=0'] });
    expect(prompt).toBe('once');
  });
});

it('counts characters as people do', async () => {
  expect((await prepare({ set: ['data.text=emoji.txt'] })).description).toContain('emoji.txt: 1,000 characters');
});
