import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Tokenizer } from '../../../src/data/tokenizers/tokenizer.ts';
import { continueText } from '../../../src/run/continueText.ts';
import { evaluateAnswers } from '../../../src/run/evaluateAnswers.ts';
import type { LoadedModel } from '../../../src/run/loadModel.ts';
import { exactMatch } from '../../../src/task/exactMatch.ts';
import { chatBlockSize, loadChatModel } from './chatModel.ts';

let folder: string;
let loaded: LoadedModel;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-answers-'));
  loaded = await loadChatModel(folder, 60);
});
afterAll(async () => {
  await loaded.engine.dispose();
  rmSync(folder, { recursive: true });
});

/** The same model, of which `character` ends an answer. */
function endingWith(character: string): LoadedModel {
  const { tokenizer } = loaded;
  const end = tokenizer.encode(character)[0]!;
  const { kind, vocabSize } = tokenizer;
  const changed: Tokenizer = {
    ...{ kind, vocabSize, endOfText: end, specialTokens: new Map([['<|endoftext|>', end]]) },
    encode: (text) => tokenizer.encode(text),
    encodeSteps: (text) => tokenizer.encodeSteps(text),
    decode: (tokens) => tokenizer.decode(tokens),
    streamDecoder: () => tokenizer.streamDecoder(),
    files: () => tokenizer.files(),
  };
  return { ...loaded, tokenizer: changed };
}

/** Everything up to the end of the context, one text at a time. */
async function greedily(prompt: string): Promise<string> {
  let all = '';
  const options = {
    maxTokens: chatBlockSize + 1 - prompt.length,
    temperature: 0,
    topK: 0,
    topP: 1,
    seed: 0,
    ignoreEos: true,
  };
  for await (const piece of continueText(loaded, { prompt, ...options })) all += piece;
  return all.slice(prompt.length);
}

const prompts = ['the cat', 'cat sat', 'on', 'mat', 'as ever', 'the', 'sat on', 'never', 'n', 'v'].flatMap((text) => [
  text,
  `${text} `.repeat(2).trim(),
]);
const evaluated = (model: LoadedModel, rows: readonly object[], template?: string) =>
  evaluateAnswers(
    model,
    rows.map((row, i) => ({ row: { ...row }, at: `rows.jsonl:${i + 1}` })),
    { template, cwd: folder, onProgress: () => undefined, measure: exactMatch },
  );

it('answers as greedy generation does, text by text, up to the end token or a full context', async () => {
  const texts = await Promise.all(prompts.map(greedily));
  // A character that ends some of them, but not all.
  const seen = [...new Set(texts.join(''))];
  const endsText = (one: string) => (text: string) => (text.split(one)[0] ?? '').trim() !== '' && text.includes(one);
  const end = seen.find((one) => texts.some(endsText(one)) && !texts.every((text) => text.includes(one)));
  expect(end).toBeDefined();
  const model = endingWith(end!);
  const ended = texts.filter((text) => text.includes(end!)).length;
  const before = texts.map((text) => text.split(end!)[0]!);
  const rows = prompts.map((prompt, i) => ({ prompt, completion: before[i]!.trim() || 'x' }));
  const right = texts.filter((text, i) => text.includes(end!) && before[i]!.trim() !== '').length;
  const counts = { rows: prompts.length, ended, endedShare: ended / prompts.length };
  expect(right).toBeGreaterThan(0);
  expect(await evaluated(model, rows)).toEqual({ ...counts, matches: right, exactMatch: right / prompts.length });
  const wrong = rows.map(({ prompt, completion }) => ({ prompt, completion: `${completion}a` }));
  expect(await evaluated(model, wrong)).toMatchObject({ ...counts, matches: 0 });
});

it('refuses a question that is longer than the context, and a checkpoint without a template', async () => {
  const rows = [
    { prompt: 'cat', completion: 'mat' },
    { prompt: 'cat '.repeat(10), completion: 'mat' },
  ];
  await expect(evaluated(loaded, rows)).rejects.toThrow(
    `rows.jsonl:2: the question has 40 tokens, but the model reads at most ${chatBlockSize}. Shorten or remove it.`,
  );
  await expect(evaluated(loaded, rows.slice(0, 1), 'missing.jinja')).rejects.toThrow('template: expected auto, alpaca');
  const files = (): Record<string, string> => ({});
  const bare = { ...endingWith(' '), tokenizer: { ...endingWith(' ').tokenizer, files } };
  await expect(evaluated(bare, rows.slice(0, 1))).rejects.toThrow('has no chat template: name the one');
  expect(await evaluated(bare, rows.slice(0, 1), 'plain')).toMatchObject({ rows: 1 });
});
