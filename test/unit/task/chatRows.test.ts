import { describe, expect, it } from 'vitest';
import { parseChatRow } from '../../../src/task/chatRows.ts';
import { refusalOf } from './refusal.ts';

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });

const refused = (row: Record<string, unknown>): string => refusalOf(() => parseChatRow(row, 'rows.jsonl:7'));

describe('rows of a conversation', () => {
  it('Alpaca, with and without an input', () => {
    expect(parseChatRow({ instruction: 'Add.', input: '1 + 1', output: '2' }, 'a:1')).toEqual([
      { role: 'user', content: 'Add.\n\n1 + 1', instruction: 'Add.', input: '1 + 1' },
      assistant('2'),
    ]);
    for (const empty of [{}, { input: '' }, { input: null }]) {
      expect(parseChatRow({ instruction: 'Greet.', output: 'Hi', ...empty }, 'a:1')).toEqual([
        user('Greet.'),
        assistant('Hi'),
      ]);
    }
  });

  it('messages, ShareGPT and prompts with completions', () => {
    const messages = [
      { role: 'system', content: 'Be brief.' },
      user('Hi'),
      assistant('Yo'),
      user('Bye'),
      assistant('.'),
    ];
    expect(parseChatRow({ id: 3, messages }, 'a:1')).toEqual(messages);
    const conversations = [
      { from: 'system', value: 'Be brief.' },
      { from: 'human', value: 'Hi' },
      { from: 'gpt', value: 'Yo' },
    ];
    expect(parseChatRow({ id: 'x', conversations }, 'a:1')).toEqual(messages.slice(0, 3));
    expect(parseChatRow({ prompt: 'Once', completion: ' upon' }, 'a:1')).toEqual([user('Once'), assistant(' upon')]);
  });
});

describe('refused rows, each with its place', () => {
  it.each([
    [
      { instruction: 'Add.', input: '' },
      'rows.jsonl:7: expected a text in output, but the row has only "instruction", "input".',
    ],
    [{ instruction: 'Add.', output: ' \n' }, 'rows.jsonl:7: expected a text in output, but it is empty.'],
    [{ instruction: '', output: '2' }, 'rows.jsonl:7: expected a text in instruction, but it is empty.'],
    [{ instruction: 'Add.', output: 2 }, 'rows.jsonl:7: expected a text in output, received 2.'],
    [{ instruction: 'Add.', input: ['1'], output: '2' }, 'rows.jsonl:7: expected a text in input, received ["1"].'],
    [
      { instruction: 'Add.', outptu: '2' },
      'rows.jsonl:7: unknown key "outptu": expected instruction, input, output. Did you mean output?',
    ],
    [{ instruction: 'Add.', output: '2', difficulty: 3 }, /unknown key "difficulty": .* Remove or rename it\./],
    [
      { instrution: 'Add.', respons: '2' },
      /received a row with "instrution", "respons"\. "instrution": did you mean instruction\?/,
    ],
    [{ text: 'Once upon' }, /expected one of \{instruction, .* For rows of plain text set task\.kind to lm\./],
    [{ text: 'Win!', label: 'spam' }, /To learn labels set task\.kind to classify\./],
    [{}, /received a row with no keys\./],
    [{ prompt: 'a', chosen: 'b', rejected: 'c' }, /Set task\.kind to dpo or reward/],
    [{ prompt: 'Once', completion: '' }, 'rows.jsonl:7: expected a text in completion, but it is empty.'],
    [{ messages: 'Hi' }, 'rows.jsonl:7: expected an array of messages in messages, received "Hi".'],
    [
      { messages: Array.from({ length: 1002 }, (_, index) => (index % 2 === 0 ? user('Hi') : assistant('Yo'))) },
      'rows.jsonl:7: expected at most 1000 messages in messages, received 1002. Split the conversation into several.',
    ],
    [{ messages: [] }, 'rows.jsonl:7: expected the last message to be of the assistant, received no message.'],
    [{ messages: ['Hi'] }, 'rows.jsonl:7: messages[0]: expected a message with role and content, received "Hi".'],
    [{ messages: [user('Hi')] }, /expected the last message to be of the assistant, received user\./],
    [
      { messages: [assistant('Hi')] },
      'rows.jsonl:7: message 1: expected a message of the user first, received assistant.',
    ],
    [
      { messages: [user('Hi'), user('Ho'), assistant('Yo')] },
      'rows.jsonl:7: message 2: two messages of user in a row. Join them, or add the one between them.',
    ],
    [
      { messages: [user('Hi'), { role: 'system', content: 'Be brief.' }] },
      'rows.jsonl:7: message 2: a system message is only allowed as the first.',
    ],
    [
      { messages: [{ role: 'asistant', content: 'Hi' }] },
      'rows.jsonl:7: messages[0]: expected one of system, user, assistant in role, received "asistant". Did you mean assistant?',
    ],
    [
      { messages: [{ role: 'tool', content: '3' }] },
      /expected one of system, user, assistant in role, received "tool"\.$/,
    ],
    [{ messages: [{ content: 'Hi' }] }, /in role, received nothing\./],
    [{ messages: [{ role: 'user' }] }, 'rows.jsonl:7: messages[0]: expected a text in content, but it is missing.'],
    [{ messages: [user('')] }, 'rows.jsonl:7: messages[0]: expected a text in content, but it is empty.'],
    [
      { messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }] },
      /expected a text in content, received \[\{"type":"text","text":"Hi"\}\]\. Only text is supported\./,
    ],
    [
      { messages: [{ role: 'user', content: 'Hi', contnet: 'Ho' }] },
      /messages\[0\]: unknown key "contnet".*mean content\?/,
    ],
    [{ conversations: [{ from: 'humna', value: 'Hi' }] }, /in from, received "humna"\. Did you mean human\?/],
  ])('%j', (row, message) => {
    const text = refused(row);
    if (typeof message === 'string') expect(text).toBe(message);
    else expect(text).toMatch(message);
    expect(text).toMatch(/^rows\.jsonl:7: /);
  });
});
