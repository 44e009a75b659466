import { expect, test } from 'vitest';
import { kindOfRow } from '../../../src/task/kindOfRow.ts';

const columns = (...names: string[]) => `--columns ${names.join(',')}`;

test.each([
  ['dpo', { prompt: 'a', chosen: 'b', rejected: 'c' }],
  ['dpo', { instruction: 'a', output: 'b', chosen: 'b', rejected: 'c' }],
  ['classify', { text: 'a', label: 'b' }],
  ['seq2seq', { source: 'a', target: 'b' }],
  ['sft', { instruction: 'a', input: '', output: 'b' }],
  ['sft', { messages: [] }],
  ['sft', { conversations: [] }],
  ['sft', { prompt: 'a', completion: 'b' }],
  ['lm', { text: 'a' }],
] as const)('recognises %s', (kind, row) => {
  expect(kindOfRow({ row, at: 'rows.jsonl:1' }, columns)).toBe(kind);
});

test('refuses other rows, with what it expects', () => {
  expect(() => kindOfRow({ row: { question: 'a', answer: 'b' }, at: 'rows.csv:2' }, columns)).toThrow(
    /^rows\.csv:2: expected a row with one of \{chosen, rejected\}, .* received one with "question", "answer"\. If the row has them under other names, take these: --columns text=NAME,label=OTHER\. .*: --columns label,text\.$/,
  );
});
