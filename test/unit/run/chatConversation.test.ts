import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { templateOf } from '../../../src/data/tokenizers/chatTemplate.ts';
import { ChatConversation } from '../../../src/run/chatConversation.ts';
import type { LoadedModel } from '../../../src/run/loadModel.ts';
import { ChatFormat } from '../../../src/task/chatFormat.ts';
import { answerTo, chatBlockSize, loadChatModel } from './chatModel.ts';

let folder: string;
let loaded: LoadedModel;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-chat-'));
  loaded = await loadChatModel(folder);
});
afterAll(async () => {
  await loaded.engine.dispose();
  rmSync(folder, { recursive: true });
});

function conversation(seed: number, maxTokens = 12): ChatConversation {
  const format = new ChatFormat(templateOf(loaded.tokenizer)!, loaded.tokenizer);
  return new ChatConversation(loaded, format, { seed, maxTokens, temperature: 1, topK: 0, topP: 1 });
}

async function said(chat: ChatConversation, message: string): Promise<string> {
  let text = '';
  for await (const piece of chat.answer(message)) text += piece;
  return text;
}

it('an answer ends at the end token, which is not part of it, and the next message follows it', async () => {
  const seeds = Array.from({ length: 30 }, (_, seed) => seed);
  const answers = await Promise.all(seeds.map((seed) => answerTo(loaded, 'the cat', { seed, maxTokens: 12 })));
  const ended = answers.findIndex(({ text, isComplete }) => isComplete && text !== '');
  const endless = answers.findIndex(({ isComplete }) => !isComplete);
  expect(Math.min(ended, endless)).toBeGreaterThanOrEqual(0);
  expect(await said(conversation(endless), 'the cat')).toBe(answers[endless]!.text);
  const chat = conversation(ended);
  const first = await said(chat, 'the cat');
  expect(first).toBe(answers[ended]!.text);
  // A second turn: with the plain template, the first ends with the end token.
  const second = await answerTo(loaded, `the cat${first}<|endoftext|>mat`, { seed: ended + 1, maxTokens: 12 });
  expect(await said(chat, 'mat')).toBe(second.text);
  expect(chat.messages.map(({ role, content }) => [role, content])).toEqual([
    ['user', 'the cat'],
    ['assistant', first],
    ['user', 'mat'],
    ['assistant', second.text],
  ]);
});

it('earlier turns make room for new ones, and one that is stopped early is kept', async () => {
  const chat = conversation(3, 8);
  for (let turn = 0; turn < 6; turn++) {
    for await (const piece of chat.answer('the mat')) {
      if (turn === 5 && piece !== '') break;
    }
  }
  expect(chat.messages.length).toBeLessThan(12);
  expect(chat.messages[0]?.role).toBe('user');
  expect(chat.messages.at(-1)?.role).toBe('assistant');
});

it('a message that leaves little room is not cut: its answer ends with the context', async () => {
  const message = 'the cat sat on the mat the cat';
  const room = chatBlockSize - message.length;
  expect(room).toBe(2);
  const seeds = Array.from({ length: 8 }, (_, seed) => seed);
  const expected = await Promise.all(seeds.map((seed) => answerTo(loaded, message, { seed, maxTokens: room })));
  for (const [seed, { text }] of expected.entries()) expect(await said(conversation(seed, 100), message)).toBe(text);
  expect(new Set(expected.map(({ text }) => text)).size).toBeGreaterThan(1);
  // Earlier turns are left out first.
  const chat = conversation(0, 8);
  await said(chat, 'the mat');
  expect(await said(chat, message)).toBe(expected[1]!.text);
  expect(chat.messages.map(({ role }) => role)).toEqual(['user', 'assistant']);
  expect(chat.messages[0]?.content).toBe(message);
});

it('refuses a message that fills the context by itself, and stays as it was', async () => {
  const chat = conversation(3);
  await said(chat, 'the cat');
  const before = chat.messages;
  await expect(said(chat, 'the cat '.repeat(4))).rejects.toThrow(
    'the message has 32 tokens, and this model sees 32 tokens with the answer: shorten it',
  );
  expect(chat.messages).toBe(before);
});

it('refuses an empty message and unknown characters, and stays as it was', async () => {
  const chat = conversation(1);
  await said(chat, 'the cat');
  const before = chat.messages;
  for (const message of ['', ' ', 'Ж']) await expect(said(chat, message)).rejects.toThrow(UserError);
  expect(chat.messages).toBe(before);
});
