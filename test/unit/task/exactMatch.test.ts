import { beforeAll, expect, it } from 'vitest';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../src/data/tokenizers/tokenizer.ts';
import { ChatFormat } from '../../../src/task/chatFormat.ts';
import { exactMatch, isExactMatch, parseQuestion } from '../../../src/task/exactMatch.ts';
import { builtInTemplate } from '../../../src/task/template.ts';
import { refusalOf } from './refusal.ts';

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await createTokenizer('byte', '');
});

const formatOf = (template: 'alpaca' | 'plain') => new ChatFormat(builtInTemplate(template, {}), tokenizer);

it.each([
  { instruction: 'add', input: '', output: 'b' },
  { prompt: 'add', completion: 'b' },
  {
    messages: [
      { role: 'user', content: 'add' },
      { role: 'assistant', content: 'b' },
    ],
  },
  {
    conversations: [
      { from: 'human', value: 'add' },
      { from: 'gpt', value: 'b' },
    ],
  },
])('a row of any form is a question and its last answer: %j', (row) => {
  const { prompt, expected, at } = parseQuestion(formatOf('alpaca'), row, 'rows.jsonl:3');
  expect([expected, at]).toEqual(['b', 'rows.jsonl:3']);
  expect(tokenizer.decode(Uint16Array.from(prompt))).toMatch(/### Instruction:\nadd\n\n### Response:\n$/);
});

it('earlier answers are part of the question, with the tokens that end them', () => {
  const messages = ['a', 'b', 'c', 'd'].map((content, i) => ({ role: i % 2 ? 'assistant' : 'user', content }));
  const { prompt, expected } = parseQuestion(formatOf('plain'), { messages }, 'rows.jsonl:1');
  expect(expected).toBe('d');
  expect(prompt).toContain(tokenizer.endOfText);
  expect(tokenizer.decode(Uint16Array.from(prompt))).not.toContain('d<');
});

it('refuses what supervised fine-tuning refuses, with the place', () => {
  const parse = (row: object) => () => parseQuestion(formatOf('plain'), { ...row }, 'rows.jsonl:7');
  expect(refusalOf(parse({ instruction: 'a' }))).toBe(
    'rows.jsonl:7: expected a text in output, but the row has only "instruction".',
  );
  expect(refusalOf(parse({ prompt: 'a', chosen: 'b', rejected: 'c' }))).toMatch(/^rows\.jsonl:7: the row has a chosen/);
});

it('counts matches and ends; white space at both ends does not count, and an answer without an end does not match', () => {
  expect(isExactMatch(' two words\n', 'two words')).toBe(true);
  expect(isExactMatch('two  words', 'two words')).toBe(false);
  expect(isExactMatch('Two words', 'two words')).toBe(false);
  const questions = ['a', 'b', 'c', 'd'].map((expected) => ({ expected }));
  const answers = [
    { text: ' a', hasEnded: true },
    { text: 'x', hasEnded: true },
    { text: 'c', hasEnded: false },
    { text: 'd', hasEnded: true },
  ];
  expect(exactMatch(questions, answers)).toEqual({
    rows: 4,
    matches: 2,
    ended: 3,
    exactMatch: 0.5,
    endedShare: 0.75,
  });
});
