/** Chat completions: a model with a chat template answers messages, in OpenAI's form. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withChatTemplate } from '../../../src/data/tokenizers/chatTemplate.ts';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../../src/data/tokenizers/tokenizer.ts';
import type { LoadedModel } from '../../../src/run/loadModel.ts';
import { readEvents } from '../../../src/serve/page/events.ts';
import { ModelServer } from '../../../src/serve/server.ts';
import { answerTo, chatBlockSize, loadChatModel } from '../run/chatModel.ts';

let folder: string;
let loaded: LoadedModel;
let server: ModelServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-chat-'));
  loaded = await loadChatModel(folder);
  server = await open(loaded.tokenizer);
});
afterAll(async () => {
  await server.close(0);
  await loaded.engine.dispose();
  rmSync(folder, { recursive: true });
});

function open(tokenizer: Tokenizer): Promise<ModelServer> {
  const onWarning = (message: string) => expect.unreachable(message);
  const options = { host: '127.0.0.1', port: 0, batchMax: 4, queueMax: 8, modelName: 'tiny', onWarning };
  return ModelServer.open({ ...loaded, tokenizer }, options);
}

const post = (body: unknown, to = server) =>
  fetch(new URL('/v1/chat/completions', to.urls.here), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

const user = (content: unknown) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const messages = [user('the cat'), assistant(' sat'), user('mat')];
/** The same conversation in the plain template. */
const prompt = 'the cat sat<|endoftext|>mat';

/** Seeds of an answer that ends by itself, and of one that does not. */
async function seeds(): Promise<{ ended: number; endless: number }> {
  const all = Array.from({ length: 30 }, (_, seed) => seed);
  const answers = await Promise.all(all.map((seed) => answerTo(loaded, prompt, { seed, maxTokens: 9 })));
  const ended = answers.findIndex(({ text, isComplete }) => isComplete && text.length > 1);
  const endless = answers.findIndex(({ isComplete }) => !isComplete);
  expect(Math.min(ended, endless)).toBeGreaterThanOrEqual(0);
  return { ended, endless };
}

describe('an answer', () => {
  it('is what the model writes after the rendered conversation, up to the end token', async () => {
    const { ended, endless } = await seeds();
    for (const [seed, finish] of [
      [ended, 'stop'],
      [endless, 'length'],
    ] as const) {
      const { text } = await answerTo(loaded, prompt, { seed, maxTokens: 9 });
      const response = await post({ model: 'tiny', messages, seed, max_tokens: 9, n: 1, user: 'me' });
      expect(response.status).toBe(200);
      const { id, created, usage, ...body } = (await response.json()) as Record<string, unknown>;
      expect(body).toEqual({
        object: 'chat.completion',
        model: 'tiny',
        choices: [
          {
            index: 0,
            message: { role: 'assistant', content: text, refusal: null },
            logprobs: null,
            finish_reason: finish,
          },
        ],
      });
      expect(id).toMatch(/^chatcmpl-/);
      expect(created).toBeTypeOf('number');
      const completion = finish === 'stop' ? text.length + 1 : 9;
      expect(usage).toEqual({ prompt_tokens: 15, completion_tokens: completion, total_tokens: 15 + completion });
    }
  });

  it('streams as events: the role first, the reason at the end', async () => {
    const { ended } = await seeds();
    const { text } = await answerTo(loaded, prompt, { seed: ended, maxTokens: 9 });
    const response = await post({
      ...{ messages, seed: ended, max_completion_tokens: 9, stream: true },
      stream_options: { include_usage: true },
    });
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    interface Event {
      readonly object: string;
      readonly choices: { delta: { role?: string; content: string }; finish_reason: string | null }[];
      readonly usage?: object;
    }
    const events: Event[] = [];
    let isDone = false;
    for await (const data of readEvents(response.body!)) {
      if (data === '[DONE]') isDone = true;
      else events.push(JSON.parse(data) as Event);
    }
    expect(isDone).toBe(true);
    expect(new Set(events.map(({ object }) => object))).toEqual(new Set(['chat.completion.chunk']));
    const choices = events.flatMap((event) => event.choices);
    expect(choices.map(({ delta }) => delta.role)).toEqual(['assistant', ...choices.slice(1).map(() => undefined)]);
    expect(choices.map(({ delta }) => delta.content).join('')).toBe(text);
    expect(choices.map(({ finish_reason }) => finish_reason).filter((reason) => reason !== null)).toEqual(['stop']);
    expect(events.at(-1)?.usage).toMatchObject({ prompt_tokens: 15 });
  });

  it('as a plain completion ends there too, unless the request ignores the end token', async () => {
    const { ended } = await seeds();
    const { text } = await answerTo(loaded, prompt, { seed: ended, maxTokens: 9 });
    const body = { prompt, special_tokens: true, seed: ended, max_tokens: 9 };
    const completed = async (more: object) => {
      const response = await fetch(new URL('/v1/completions', server.urls.here), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...body, ...more }),
      });
      const { choices } = (await response.json()) as { choices: { text: string; finish_reason: string }[] };
      return choices.map((choice) => [choice.text, choice.finish_reason])[0];
    };
    expect(await completed({})).toEqual([text, 'stop']);
    const [all, finish] = (await completed({ ignore_eos: true }))!;
    expect(all).toMatch(/<\|endoftext\|>/);
    expect(all!.startsWith(text)).toBe(true);
    expect(finish).toBe('length');
  });

  it('may continue to the end of the context if no maximum is given, and ends before a stop text', async () => {
    const { endless } = await seeds();
    const { text } = await answerTo(loaded, prompt, { seed: endless, maxTokens: 9 });
    const stop = text.slice(3, 5);
    const response = await post({ messages, seed: endless, stop: [stop] });
    const { choices, usage } = (await response.json()) as {
      choices: { message: { content: string }; finish_reason: string }[];
      usage: { completion_tokens: number };
    };
    expect(choices[0]!.message.content).toBe(text.slice(0, text.indexOf(stop)));
    expect(choices[0]!.finish_reason).toBe('stop');
    const all = await (await post({ messages, seed: endless })).json();
    const most = chatBlockSize - 15;
    expect((all as { usage: { completion_tokens: number } }).usage.completion_tokens).toBeLessThanOrEqual(most);
    expect(usage.completion_tokens).toBeLessThan(most);
  });
});

describe('a request that is refused', () => {
  it.each<[string, object, string | null, RegExp]>([
    ['no messages', {}, 'messages', /^messages: expected an array of messages in item, received nothing\.$/],
    ['no turn', { messages: [] }, 'messages', /expected the last message to be of the user/],
    [
      'the last word is the assistant',
      { messages: messages.slice(0, 2) },
      'messages',
      /to be of the user, received assistant/,
    ],
    ['an unknown role', { messages: [{ role: 'usr', content: 'a' }] }, 'messages', /item\[0\].*Did you mean user\?/],
    ['parts', { messages: [user([{ type: 'text', text: 'a' }])] }, 'messages', /Only text is supported/],
    ['unknown characters', { messages: [user('Ж')] }, 'messages', /"Ж" \(U\+0416\)/],
    ['many messages', { messages: Array.from({ length: 129 }, () => user('a')) }, 'messages', /at most 128 a request/],
    ['several answers', { messages, n: 2 }, 'n', /expected a whole number from 1 to 1, received 2/],
    ['no tokens', { messages, max_tokens: 0 }, 'max_tokens', /from 1 to 65536/],
    ['another model', { messages, model: 'gpt-4' }, 'model', /this server has "tiny" only/],
    ['a prompt', { messages, prompt: 'the' }, 'prompt', /unknown parameter/],
    ['tools', { messages, tools: [{}] }, 'tools', /this server cannot do that/],
    ['log probabilities', { messages, logprobs: true }, 'logprobs', /this server cannot do that/],
    ['no object', [], null, /expected a JSON object/],
  ])('%s', async (_, body, param, message) => {
    const response = await post(body);
    const { error } = (await response.json()) as { error: Record<string, unknown> };
    expect(error['message']).toMatch(message);
    expect([error['type'], error['param']]).toEqual(['invalid_request_error', param]);
    expect(response.status).toBe(param === 'model' ? 404 : 400);
  });

  it('has a conversation that is longer than the context', async () => {
    const response = await post({ messages: [user('a'.repeat(chatBlockSize))] });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: {
        code: 'context_length_exceeded',
        message: expect.stringMatching(/has 32 tokens, and this model sees 32/),
      },
    });
  });

  it('has a conversation that is too long in any tokens: it is not rendered', async () => {
    const many = Array.from({ length: 4 }, () => [user('a'.repeat(640)), assistant('b'.repeat(500))]);
    const response = await post({ messages: [...many.flat(), user('a')] });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: {
        code: 'context_length_exceeded',
        message: expect.stringMatching(/has 4561 characters, and this model sees 32 tokens with the answer/),
      },
    });
  });

  it.each<[string, () => Promise<Tokenizer>, RegExp]>([
    ['no template', () => createTokenizer('byte', ''), /^this model has no chat template; use \/v1\/completions$/],
    [
      'a template, but no token to end an answer',
      async () => withChatTemplate(await createTokenizer('char', 'abc'), 'x'),
      /^the tokenizer char has no end-of-document token.*; use \/v1\/completions$/,
    ],
  ])('is to a model with %s', async (_, tokenizer, message) => {
    const other = await open(await tokenizer());
    try {
      const response = await post({ messages }, other);
      expect(response.status).toBe(400);
      const { error } = (await response.json()) as { error: Record<string, unknown> };
      expect(error).toMatchObject({ code: 'no_chat_template', message: expect.stringMatching(message) });
    } finally {
      await other.close(0);
    }
  });
});
