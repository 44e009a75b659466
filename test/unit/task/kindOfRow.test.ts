import { expect, test } from 'vitest';
import { kindOfRow } from '../../../src/task/kindOfRow.ts';

test.each([
  ['dpo', { prompt: 'a', chosen: 'b', rejected: 'c' }],
  ['dpo', { instruction: 'a', output: 'b', chosen: 'b', rejected: 'c' }],
  ['classify', { text: 'a', label: 'b' }],
  ['sft', { instruction: 'a', input: '', output: 'b' }],
  ['sft', { messages: [] }],
  ['sft', { conversations: [] }],
  ['sft', { prompt: 'a', completion: 'b' }],
  ['lm', { text: 'a' }],
] as const)('recognises %s', (kind, row) => {
  expect(kindOfRow({ row, at: 'rows.jsonl:1' })).toBe(kind);
});

test('refuses other rows, with what it expects', () => {
  expect(() => kindOfRow({ row: { question: 'a', answer: 'b' }, at: 'rows.csv:2' })).toThrow(
    /^rows\.csv:2: expected a row with one of \{chosen, rejected\}, .* received one with "question", "answer"/,
  );
});
