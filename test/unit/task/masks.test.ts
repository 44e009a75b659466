/**
 * What a model learns to write is the text of the assistant and the token that ends it, and nothing else: for every form of rows, every
 * template and every kind of tokenizer.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../src/data/tokenizers/tokenizer.ts';
import { ChatFormat } from '../../../src/task/chatFormat.ts';
import { parseChatRow } from '../../../src/task/chatRows.ts';
import type { Message } from '../../../src/task/messages.ts';
import type { Row } from '../../../src/task/rows.ts';
import { sftTask } from '../../../src/task/sft.ts';
import { builtInTemplate, parseTemplate, type Template } from '../../../src/task/template.ts';
import { publishedTemplates } from './templates.ts';

const asIs = (answer: string): string => answer;
/** Each with what it makes of the text of an answer. */
const templates: Record<string, [Template, (answer: string) => string]> = {
  alpaca: [builtInTemplate('alpaca'), asIs],
  chatml: [builtInTemplate('chatml'), asIs],
  plain: [builtInTemplate('plain'), asIs],
  'ChatML with its own end of turn': [parseTemplate(publishedTemplates.chatml, 'ChatML'), asIs],
  'Llama 3': [parseTemplate(publishedTemplates.llama3, 'Llama 3'), (answer) => answer.trim()],
  'Llama 2': [parseTemplate(publishedTemplates.llama2, 'Llama 2'), (answer) => ` ${answer.trim()} `],
  Zephyr: [parseTemplate(publishedTemplates.zephyr, 'Zephyr'), asIs],
  'GPT-2': [parseTemplate(publishedTemplates.gpt2, 'GPT-2'), asIs],
};

const end = '<|endoftext|>';
/** Pieces of texts: names of special tokens, what templates render, and what tokenizers join. */
const pieces = [
  'a',
  'Hello',
  ' world',
  ' ',
  '\n',
  '\n\n',
  '\n\n\n',
  "'s",
  '7',
  'é',
  '日本',
  '👍🏽',
  '\ufeff',
  '\ufdd0',
  '\ufdd1',
];
const names = [end, '<|im_end|>', '<|im_start|>', '</s>', '[/INST]', '### Response:\n', '<|endof', 'text|>'];
const text = fc
  .array(fc.constantFrom(...pieces, ...names), { minLength: 1, maxLength: 6 })
  .map((parts) => parts.join(''))
  .filter((joined) => joined.trim() !== '');

const single = fc.tuple(text, text);
const forms: Record<string, fc.Arbitrary<Row>> = {
  Alpaca: fc
    .tuple(text, fc.oneof(text, fc.constant('')), text)
    .map(([instruction, input, output]) => ({ instruction, input, output })),
  'prompt and completion': single.map(([prompt, completion]) => ({ prompt, completion })),
  messages: fc.array(single, { minLength: 1, maxLength: 3 }).map((turns) => ({
    messages: turns.flatMap(([question, answer]) => [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ]),
  })),
  ShareGPT: fc.array(single, { minLength: 1, maxLength: 3 }).map((turns) => ({
    conversations: turns.flatMap(([question, answer]) => [
      { from: 'human', value: question },
      { from: 'gpt', value: answer },
    ]),
  })),
};

const tokenizers: Record<string, Tokenizer> = {};
beforeAll(async () => {
  const sources = Object.values(templates).map(([{ source }]) => source);
  const characters = [...sources, ...pieces, ...names, 'Below is an instruction user assistant'].join('');
  tokenizers['char'] = await createTokenizer('char', characters, { endOfText: true });
  tokenizers['byte'] = await createTokenizer('byte', '');
  tokenizers['gpt2'] = await createTokenizer('gpt2', '');
  tokenizers['bpe:300'] = await createTokenizer(
    'bpe:300',
    'Hello world\n\n### Response:\nHello, it is 7 <|endoftext|>'.repeat(9),
  );
});

describe.each(['char', 'byte', 'gpt2', 'bpe:300'])('%s', (kind) => {
  describe.each(Object.keys(templates))('%s', (name) => {
    it.each(Object.keys(forms))('%s', (form) => {
      const tokenizer = tokenizers[kind]!;
      const [template, shown] = templates[name]!;
      const task = sftTask({ tokenizer, template });
      const format = new ChatFormat(template, tokenizer);
      expect(format.endToken).toBe(tokenizer.endOfText);
      fc.assert(
        fc.property(forms[form]!, (row) => {
          const messages = parseChatRow(row, 'a:1');
          const sample = task.encode(task.parse(row, 'a:1'));
          const [tokens, targets] = [Array.from(sample['tokens']!), Array.from(sample['targets']!)];
          const answers = messages.filter(({ role }) => role === 'assistant');
          // Only the assistant's text is learned, and its end, which is not the text `<|endoftext|>`.
          const learned = targets.filter((target) => target >= 0);
          expect(tokenizer.decode(learned)).toBe(answers.map(({ content }) => shown(content) + end).join(''));
          expect(learned.filter((token) => token === tokenizer.endOfText)).toHaveLength(answers.length);
          expect(learned.at(-1)).toBe(tokenizer.endOfText);
          // A target is the token that follows.
          const next = [...tokens.slice(1), tokenizer.endOfText];
          for (const [index, target] of targets.entries()) if (target >= 0) expect(target).toBe(next[index]);
          // Before each answer, the model sees in training what it sees in use.
          for (const [index, { role }] of messages.entries()) {
            if (role === 'user') expectPrefix(format, messages.slice(0, index + 1), { tokens, targets });
          }
        }),
        { numRuns: 5 },
      );
    });
  });
});

function expectPrefix(
  format: ChatFormat,
  messages: readonly Message[],
  { tokens, targets }: { tokens: readonly number[]; targets: readonly number[] },
): void {
  const prompt = format.encode(format.prompt(messages)).tokens;
  expect(prompt).toEqual(tokens.slice(0, prompt.length));
  // The last token of the prompt predicts the first of the answer.
  expect(targets[prompt.length - 1]).toBeGreaterThanOrEqual(0);
  if (prompt.length >= 2 && messages.length === 1) expect(targets[prompt.length - 2]).toBe(-1);
}
