/** A model behind HTTP: the texts of `launch generate`, to many at once; and what is refused, and how. */
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { continueText, sampleSeed, type TextOptions } from '../../../src/run/continueText.ts';
import { type LoadedModel, loadModel } from '../../../src/run/loadModel.ts';
import { readEvents } from '../../../src/serve/page/events.ts';
import { Scheduler } from '../../../src/serve/scheduler.ts';
import { ModelServer, type ServeOptions } from '../../../src/serve/server.ts';
import { blockSize, trainRun } from '../run/trainedModel.ts';

let folder = '';
let loaded: LoadedModel;
let server: ModelServer | undefined;
const warnings: string[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-serve-'));
  await (await trainRun(join(folder, 'tiny'))).dispose();
  const onWarning = (message: string) => expect.unreachable(message);
  loaded = await loadModel({ path: 'tiny', cwd: folder, engine: { name: 'auto' }, onWarning });
});
afterEach(async () => {
  await server?.close(0);
  server = undefined;
  expect(warnings.splice(0)).toEqual([]);
});
afterAll(async () => {
  await loaded.engine.dispose();
  rmSync(folder, { recursive: true });
});

async function open(options: Partial<ServeOptions> = {}): Promise<URL> {
  server = await ModelServer.open(loaded, {
    host: '127.0.0.1',
    port: 0,
    batchMax: 8,
    queueMax: 64,
    modelName: 'tiny',
    onWarning: (message) => warnings.push(message),
    ...options,
  });
  return new URL(server.urls.here);
}

type Headers = Record<string, string>;

function post(url: URL, body: unknown, { headers = {}, signal }: { headers?: Headers; signal?: AbortSignal } = {}) {
  const init = { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, signal: signal ?? null };
  return fetch(new URL('/v1/completions', url), {
    ...init,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

interface Body {
  readonly choices: {
    text: string;
    index: number;
    finish_reason: string | null;
    logprobs: Record<string, unknown[]>;
  }[];
  readonly usage: object;
  readonly error: object;
}

async function streamed(response: Response): Promise<{ text: string; finish: string | null; isDone: boolean }> {
  const told = { text: '', finish: null as string | null, isDone: false };
  for await (const data of readEvents(response.body!)) {
    if (data === '[DONE]') told.isDone = true;
    else {
      const [choice] = (JSON.parse(data) as Body).choices;
      told.text += choice!.text;
      told.finish = choice!.finish_reason;
    }
  }
  return told;
}

/** What `launch generate` prints after the prompt. */
async function generated(
  prompt: string,
  options: Pick<TextOptions, 'seed' | 'maxTokens'> & Partial<Omit<TextOptions, 'prompt'>>,
) {
  let text = '';
  for await (const piece of continueText(loaded, { prompt, temperature: 1, topK: 0, topP: 1, ...options }))
    text += piece;
  return text.slice(prompt.length);
}

async function untilIdle(url: URL): Promise<void> {
  for (;;) {
    const { running, waiting } = (await (await fetch(new URL('/health', url))).json()) as Record<string, number>;
    if (running === 0 && waiting === 0) return;
    await sleep(10);
  }
}

describe('completions', () => {
  it('of 50 streams at once are each what generate gives with the same seed and options', async () => {
    const url = await open();
    const requests = Array.from({ length: 50 }, (_, i) => {
      const prompt = 'the cat sat on the mat'.slice(0, 1 + (i % 20));
      return {
        prompt,
        seed: i,
        maxTokens: 1 + ((7 * i) % 30),
        temperature: i % 4 === 0 ? 0 : 0.5 + i / 40,
        topK: i % 6,
        minP: i % 3 === 0 ? 0 : 0.1 * (i % 5),
        repetitionPenalty: i % 2 === 0 ? 1 : 0.5 + i / 20,
      };
    });
    const texts = await Promise.all(
      requests.map(async ({ prompt, seed, maxTokens, temperature, topK, minP, repetitionPenalty }) => {
        const drawn = { temperature, top_k: topK, min_p: minP, repetition_penalty: repetitionPenalty };
        const body = { prompt, seed, max_tokens: maxTokens, ...drawn, stream: true };
        return streamed(await post(url, body));
      }),
    );
    for (const [i, { prompt, ...options }] of requests.entries()) {
      const text = await generated(prompt, options);
      expect(texts[i], `stream ${i}`).toEqual({ text, finish: 'length', isDone: true });
    }
  });

  it('of several prompts and samples come in order, each with its own seed; usage counts tokens', async () => {
    const url = await open();
    const body = {
      model: 'tiny',
      prompt: ['the ', 'a'],
      n: 2,
      seed: 2 ** 32 - 1,
      max_tokens: 12,
      echo: true,
      user: 'me',
    };
    const { choices, usage } = (await (await post(url, body)).json()) as Body;
    const expected = [];
    for (const prompt of ['the ', 'a']) {
      for (const i of [0, 1])
        expected.push(prompt + (await generated(prompt, { seed: sampleSeed(2 ** 32 - 1, i), maxTokens: 12 })));
    }
    expect(choices.map(({ text }) => text)).toEqual(expected);
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(usage).toEqual({ prompt_tokens: 5, completion_tokens: 48, total_tokens: 53 });
    const tokens = [...loaded.tokenizer.encode('the ')];
    const ofTokens = (await (await post(url, { ...body, prompt: tokens, n: 1 })).json()) as Body;
    expect(ofTokens.choices[0]!.text).toBe(expected[0]);
  });

  it('end before a stop text, may have no tokens, and tell how likely each token was', async () => {
    const url = await open();
    const whole = await generated('the ', { seed: 4, maxTokens: 30 });
    const stop = whole.slice(9, 11);
    const stopped = (await (
      await post(url, { prompt: 'the ', seed: 4, max_tokens: 30, stop, logprobs: 2 })
    ).json()) as Body;
    const [choice] = stopped.choices;
    expect(choice).toMatchObject({ text: whole.slice(0, whole.indexOf(stop)), finish_reason: 'stop' });
    expect(choice!.logprobs['tokens']!.join('')).toBe(whole.slice(0, whole.indexOf(stop) + 2));
    expect(choice!.logprobs['text_offset']).toEqual(choice!.logprobs['tokens']!.map((_, i) => i));
    for (const [i, top] of choice!.logprobs['top_logprobs']!.entries()) {
      expect(Object.keys(top as object).length).toBe(2);
      expect(choice!.logprobs['token_logprobs']![i]).toBeLessThanOrEqual(Math.max(...Object.values(top as object)));
    }
    const none = (await (await post(url, { prompt: 'the ', max_tokens: 0 })).json()) as Body;
    expect(none.choices[0]).toMatchObject({ text: '', finish_reason: 'length' });
  });

  it('whose client goes away are ended', async () => {
    const url = await open({ batchMax: 1 });
    const { bytesInUse } = loaded.engine.memory();
    const abort = new AbortController();
    const long = { prompt: 'the ', max_tokens: 65_536 };
    const stream = await post(url, { ...long, stream: true }, { signal: abort.signal });
    const waiting = post(url, long, { signal: abort.signal });
    await stream.body!.getReader().read();
    abort.abort();
    await expect(waiting).rejects.toThrow('abort');
    await untilIdle(url);
    await server!.close(0);
    expect(loaded.engine.memory().bytesInUse).toBe(bytesInUse);
  });

  it('whose client goes away are ended, also those that wait behind another on one connection', async () => {
    const url = await open();
    const body = JSON.stringify({ prompt: 'the ', max_tokens: 65_536 });
    const head = `POST /v1/completions HTTP/1.1\r\nHost: ${url.host}\r\nContent-Type: application/json\r\n`;
    const client = connect(Number(url.port), '127.0.0.1');
    client.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`.repeat(3));
    for (;;) {
      const { running } = (await (await fetch(new URL('/health', url))).json()) as { running: number };
      if (running === 3) break;
      await sleep(10);
    }
    client.destroy();
    await untilIdle(url);
  });

  it('that find no room are refused with when to come again, and those under way are finished at the end', async () => {
    const url = await open({ batchMax: 1, queueMax: 2 });
    const abort = new AbortController();
    const first = await post(url, { prompt: 'the ', max_tokens: 65_536, stream: true }, { signal: abort.signal });
    await first.body!.getReader().read();
    const seconds = [post(url, { prompt: 'the ', max_tokens: 30, seed: 5 }), post(url, { prompt: 'a', max_tokens: 3 })];
    for (;;) {
      const { waiting } = (await (await fetch(new URL('/health', url))).json()) as { waiting: number };
      if (waiting === 2) break;
      await sleep(10);
    }
    const refused = await post(url, { prompt: 'the ' });
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(await refused.json()).toMatchObject({ error: { type: 'rate_limit_error', code: 'queue_full' } });
    const closed = server!.close(60_000);
    expect((await post(url, { prompt: 'the ' })).status).toBe(503);
    abort.abort();
    const [second] = ((await (await seconds[0]!).json()) as Body).choices;
    expect(second!.text).toBe(await generated('the ', { seed: 5, maxTokens: 30 }));
    await closed;
  });
});

describe('a failure', () => {
  it('of one text, when it begins or when it is told, leaves the others as they are', async () => {
    const scheduler = new Scheduler(loaded, { batchMax: 8, queueMax: 8 });
    const told = { text: '', errors: [] as unknown[] };
    const textOf = (prompt: ArrayLike<number>, onPiece: (piece: { readonly text: string }) => void) => ({
      request: { prompt, seed: 5, maxTokens: 30, temperature: 1, topK: 0, topP: 1, stop: [] },
      onPiece,
      onError: (error: unknown) => told.errors.push(error),
    });
    const prompt = loaded.tokenizer.encode('the ');
    const whole = textOf(prompt, ({ text }) => {
      told.text += text;
    });
    const outside = textOf([1e6], () => expect.unreachable());
    const thrower = textOf(prompt, () => {
      throw new Error('of the client');
    });
    expect(scheduler.submit([outside, thrower, whole])).toBe(true);
    await scheduler.idle();
    const messages = told.errors.map((error) => (error as Error).message);
    expect(messages).toEqual([expect.stringContaining('vocabulary'), 'of the client']);
    expect(told.text).toBe(await generated('the ', { seed: 5, maxTokens: 30 }));
  });
});

describe('an invalid request', () => {
  it.each<[unknown, number, string]>([
    ['{', 400, 'not valid JSON'],
    ['', 400, 'cannot be empty'],
    ['[]', 400, 'expected a JSON object'],
    [{ prompt: 1 }, 400, 'prompt: expected a text'],
    [{ prompt: '' }, 400, 'prompt: the prompt is empty'],
    [{ prompt: [] }, 400, 'prompt: the array is empty'],
    [{ prompt: [[]] }, 400, 'prompt: a prompt has at least one token'],
    [{ prompt: ['a', {}] }, 400, 'prompt: expected a text'],
    [{ prompt: [1, 'a'] }, 400, 'token 1: expected a whole number'],
    [{ prompt: [1e9] }, 400, 'token 0: expected a whole number from 0 to'],
    [{ prompt: [-1, 0.5] }, 400, 'token 0'],
    [{ prompt: 'ÄÖ' }, 400, 'prompt: the text has characters that are not among'],
    [{ prompt: Array(129).fill('a') }, 400, 'at most 128'],
    [{ prompt: Array(64).fill('a'), n: 64 }, 400, 'n: 64 prompts times 64'],
    [{ prompt: 'a', max_tokens: 1e9 }, 400, 'max_tokens: expected a whole number from 0 to 65536'],
    [{ prompt: 'a', max_tokens: 4_097, n: 64 }, 400, 'max_tokens: an answer of 64 texts has up to 4096 tokens each'],
    [{ prompt: 'a', max_tokens: 20_000, logprobs: 20 }, 400, 'one text with logprobs of 20 has up to 12483 tokens'],
    [{ prompt: 'a', max_tokens: '5' }, 400, 'received "5"'],
    [{ prompt: 'a', temperature: -1 }, 400, 'temperature: expected a number'],
    [{ prompt: 'a', top_p: 0 }, 400, 'top_p: expected'],
    [{ prompt: 'a', min_p: 1.1 }, 400, 'min_p: expected a number from 0 to 1'],
    [{ prompt: 'a', repetition_penalty: 0 }, 400, 'repetition_penalty: expected a number from 0.01 to 100'],
    [{ prompt: 'a', top_k: 1.5 }, 400, 'top_k: expected a whole number'],
    [{ prompt: 'a', n: 0 }, 400, 'n: expected'],
    [{ prompt: 'a', seed: -1 }, 400, 'seed: expected'],
    [{ prompt: 'a', stop: ['b', ''] }, 400, 'stop: expected a text of 1 to'],
    [{ prompt: 'a', stop: ['b', 'c', 'd', 'e', 'f'] }, 400, 'stop: received 5 texts'],
    [{ prompt: 'a', stream: 'yes' }, 400, 'stream: expected true or false'],
    [{ prompt: 'a', stream_options: { include_usage: true } }, 400, 'stream_options: only a stream'],
    [{ prompt: 'a', logprobs: 21 }, 400, 'logprobs: expected'],
    [{ prompt: 'a', logprobs: 1, echo: true }, 400, 'logprobs: this server has none of a prompt'],
    [{ prompt: 'a', presence_penalty: 1 }, 400, 'presence_penalty: this server cannot do that'],
    [{ prompt: 'a', best_of: 3 }, 400, 'best_of: this server cannot do that'],
    [{ prompt: 'a', temprature: 1 }, 400, 'temprature: unknown parameter'],
    ['{"prompt":"a","__proto__":{"n":3}}', 400, ''],
    ['{"prompt":"a","constructor":1}', 400, 'constructor: unknown parameter'],
    [{ prompt: 'a', model: 'gpt-4' }, 404, 'model: this server has "tiny" only'],
  ])('%j is refused with a reason', async (body, status, message) => {
    const response = await post(await open(), body);
    const { error } = (await response.json()) as Body;
    expect(response.status).toBe(status);
    expect(error).toMatchObject({ message: expect.stringContaining(message), type: 'invalid_request_error' });
    expect(Object.keys(error)).toEqual(['message', 'type', 'param', 'code']);
  });

  it('is an unknown path, a page of another site, a name that leads here, a text that is not JSON or too long', async () => {
    const url = await open();
    const tooLong = await post(url, { prompt: 'a'.repeat(2 ** 20) });
    expect(tooLong.status).toBe(413);
    expect(await tooLong.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
    expect((await fetch(new URL('/v1/embeddings', url), { method: 'POST' })).status).toBe(404);
    expect((await fetch(new URL('/v1/models/other', url))).status).toBe(404);
    expect(await (await fetch(new URL('/v1/models/tiny', url))).json()).toMatchObject({ id: 'tiny', object: 'model' });
    expect((await post(url, { prompt: 'a' }, { headers: { origin: 'http://evil.example' } })).status).toBe(403);
    expect((await post(url, { prompt: 'a' }, { headers: { origin: url.origin } })).status).toBe(200);
    expect((await post(url, '{"prompt":"a"}', { headers: { 'content-type': 'text/plain' } })).status).toBe(415);
    const status = await new Promise((resolve, reject) => {
      const options = { host: url.hostname, port: url.port, path: '/v1/models', headers: { host: 'evil.example' } };
      request(options, (response) => resolve(response.resume().statusCode))
        .on('error', reject)
        .end();
    });
    expect(status).toBe(403);
  });

  it('is one without the token where others than this machine may ask', async () => {
    const url = await open({ host: '0.0.0.0' });
    const { token } = server!;
    expect(token).toMatch(/^[\w-]{24}$/);
    const refused = await post(url, { prompt: 'a' });
    expect(refused.status).toBe(401);
    expect(await refused.json()).toMatchObject({ error: { type: 'authentication_error', code: 'invalid_api_key' } });
    expect((await fetch(new URL('/health', url.origin))).status).toBe(200);
    const headers = { authorization: `Bearer ${token}` };
    expect((await post(url, { prompt: 'a', max_tokens: blockSize }, { headers })).status).toBe(200);
    const page = await fetch(url);
    expect(page.headers.get('set-cookie')).toMatch(/HttpOnly; SameSite=Strict/);
    expect(page.headers.get('content-security-policy')).toContain("script-src 'self'");
  });
});
