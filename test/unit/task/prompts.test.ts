/** Prompts of rows: with and without an answer, in every form. */
import { describe, expect, it } from 'vitest';
import { openTemplate } from '../../../src/data/tokenizers/chatTemplate.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { promptReader } from '../../../src/task/prompts.ts';
import type { Row } from '../../../src/task/rows.ts';

const tokenizer = await createTokenizer('byte', '');
const template = await openTemplate('plain', tokenizer, '.');
const { read, endToken } = promptReader({ tokenizer, template });

describe('prompts', () => {
  it.each<{ row: Row; expected: string | undefined }>([
    { row: { prompt: 'hi' }, expected: undefined },
    { row: { prompt: 'hi', completion: 'hello' }, expected: 'hello' },
    { row: { instruction: 'hi' }, expected: undefined },
    { row: { instruction: 'hi', input: '', output: 'hello' }, expected: 'hello' },
    { row: { messages: [{ role: 'user', content: 'hi' }] }, expected: undefined },
    {
      row: {
        messages: [
          { role: 'user', content: 'hi' },
          { role: 'assistant', content: 'hello' },
        ],
      },
      expected: 'hello',
    },
    { row: { conversations: [{ from: 'human', value: 'hi' }] }, expected: undefined },
  ])('reads $row', ({ row, expected }) => {
    const prompt = read(row, 'rows.jsonl:1');
    expect(prompt.expected).toBe(expected);
    expect(prompt.messages.map(({ role, content }) => ({ role, content }))).toEqual([{ role: 'user', content: 'hi' }]);
    expect(tokenizer.decode([...prompt.tokens])).toContain('hi');
    expect(tokenizer.decode([...prompt.tokens])).not.toContain('hello');
  });

  it('ends completions with the token that ends an answer', () => {
    expect(endToken).toBe(tokenizer.endOfText);
  });

  it.each<{ row: Row; message: string }>([
    { row: { promt: 'hi' }, message: 'did you mean prompt' },
    { row: { prompt: 'hi', answer: 'hello' }, message: 'unknown key "answer"' },
    { row: { instruction: 'hi', inputs: 'x' }, message: 'Did you mean input?' },
    { row: { messages: [{ role: 'system', content: 'hi' }] }, message: 'expected the last message to be of the user' },
    { row: { prompt: '' }, message: 'it is empty' },
  ])('names what is wrong with $row', ({ row, message }) => {
    expect(() => read(row, 'rows.jsonl:1')).toThrow(message);
  });
});
