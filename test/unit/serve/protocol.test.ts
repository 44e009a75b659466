/** Malformed requests, from stray bytes up: each is refused in OpenAI's error format. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LoadedModel, loadModel } from '../../../src/run/loadModel.ts';
import { ModelServer } from '../../../src/serve/server.ts';
import { trainRun } from '../run/trainedModel.ts';

let folder = '';
let loaded: LoadedModel;
let server: ModelServer;
let port = 0;
const warnings: string[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-protocol-'));
  await (await trainRun(join(folder, 'tiny'))).dispose();
  const onWarning = (message: string) => expect.unreachable(message);
  loaded = await loadModel({ path: 'tiny', cwd: folder, engine: { name: 'auto' }, onWarning });
  server = await open();
  port = Number(new URL(server.urls.here).port);
});
afterAll(async () => {
  await server.close(0);
  await loaded.engine.dispose();
  rmSync(folder, { recursive: true });
  expect(warnings).toEqual([]);
});

function open(options: { requestTimeoutMs?: number } = {}): Promise<ModelServer> {
  const onWarning = (message: string) => warnings.push(message);
  const limits = { batchMax: 8, queueMax: 64 };
  return ModelServer.open(loaded, { host: '127.0.0.1', port: 0, modelName: 'tiny', onWarning, ...limits, ...options });
}

interface Answer {
  readonly status: number;
  readonly headers: string;
  readonly body: string;
}

/** Sends bytes as they are; all that comes back until the server ends the connection, as answers. */
async function exchange(bytes: string | Buffer, to = port): Promise<Answer[]> {
  const socket = connect(to, '127.0.0.1');
  socket.on('error', () => undefined);
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(socket, 'connect');
  socket.write(bytes);
  await once(socket, 'close');
  return text === ''
    ? []
    : text.split(/(?=HTTP\/1\.1 \d{3} )/).map((answer) => {
        const [headers = '', body = ''] = answer.split('\r\n\r\n');
        return { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(headers)?.[1]), headers: headers.toLowerCase(), body };
      });
}

function expectOpenAiError({ status, headers, body }: Answer): { message: string; code: string | null } {
  const { error, ...others } = JSON.parse(body) as { error: { message: string; type: string; code: string | null } };
  expect(others).toEqual({});
  expect(Object.keys(error)).toEqual(['message', 'type', 'param', 'code']);
  expect(error.type).toBe(status < 500 ? 'invalid_request_error' : 'server_error');
  expect(headers).toContain('content-type: application/json');
  expect(headers).toContain("content-security-policy: default-src 'none'");
  // Clients are not told names of internal errors, nor stack traces.
  expect(body).not.toMatch(/HPE_|ERR_|FST_|node:|\bat .*:\d+:\d+/);
  return error;
}

const head = (method: string, path: string, ...headers: string[]) =>
  [`${method} ${path} HTTP/1.1`, 'Host: localhost', 'Connection: close', ...headers, '', ''].join('\r\n');
const json = 'Content-Type: application/json';
const post = (body: string | Buffer, ...headers: string[]) =>
  Buffer.concat([
    Buffer.from(head('POST', '/v1/completions', json, `Content-Length: ${Buffer.byteLength(body)}`, ...headers)),
    Buffer.from(body),
  ]);
const chunked = (...chunks: string[]) =>
  head('POST', '/v1/completions', json, 'Transfer-Encoding: chunked') + chunks.join('');

describe('a request that is not one', () => {
  it.each<[string, string | Buffer, number, string, string]>([
    ['no HTTP', 'hello\r\n\r\n', 400, 'invalid_http', 'not valid HTTP/1.1'],
    ['bytes of TLS', Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]), 400, 'invalid_http', 'not valid HTTP/1.1'],
    [
      'noise',
      Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 89) % 256)),
      400,
      'invalid_http',
      'not valid HTTP',
    ],
    ['another protocol', 'GET / HTTQ/1.1\r\nHost: localhost\r\n\r\n', 400, 'invalid_http', 'not valid HTTP/1.1'],
    ['a header without a colon', 'GET / HTTP/1.1\r\nHost localhost\r\n\r\n', 400, 'invalid_http', 'not valid HTTP/1.1'],
    ['no host', 'GET /health HTTP/1.1\r\nConnection: close\r\n\r\n', 400, 'no_host', 'Host is missing'],
    [
      'Content-Length: abc',
      head('POST', '/v1/completions', json, 'Content-Length: abc'),
      400,
      'invalid_content_length',
      'not a number',
    ],
    [
      'a negative Content-Length',
      head('POST', '/v1/completions', json, 'Content-Length: -1'),
      400,
      'invalid_content_length',
      'not a number',
    ],
    [
      'two lengths',
      head('POST', '/v1/completions', json, 'Content-Length: 2', 'Content-Length: 3'),
      400,
      'invalid_content_length',
      'stands twice',
    ],
    [
      'a length and chunks',
      head('POST', '/v1/completions', json, 'Content-Length: 2', 'Transfer-Encoding: chunked'),
      400,
      'invalid',
      'Transfer-Encoding',
    ],
    ['a chunk of no size', chunked('xyz\r\n{}\r\n0\r\n\r\n'), 400, 'invalid_chunk', 'hexadecimal'],
    [
      'large headers',
      head('GET', '/health', `X: ${'x'.repeat(20_000)}`),
      431,
      'headers_too_large',
      'at most 16384 bytes',
    ],
    ['a long path', head('GET', `/${'x'.repeat(20_000)}`), 431, 'headers_too_large', 'at most 16384 bytes'],
    ['CONNECT', head('CONNECT', 'example.org:443'), 405, 'method_not_allowed', 'CONNECT is not allowed'],
    ['another expectation', post('{}', 'Expect: the-unexpected'), 417, 'expectation', '100-continue'],
    ['an unknown path', head('GET', '/v1/embeddings'), 404, 'unknown_url', 'GET /v1/embeddings does not exist'],
    ['a path that goes up', head('GET', '/../package.json'), 404, 'unknown_url', 'does not exist'],
    ['an unknown model', head('GET', '/v1/models/gpt%2F4'), 404, 'model_not_found', 'no model gpt/4'],
    ['a path with a bare %', head('GET', '/v1/models/%zz'), 400, 'invalid_path', '%'],
    [
      'no type',
      `${head('POST', '/v1/completions', 'Content-Length: 2')}{}`,
      415,
      'unsupported_media_type',
      'application/json',
    ],
    [
      'a form',
      `${head('POST', '/v1/completions', 'Content-Type: application/x-www-form-urlencoded', 'Content-Length: 3')}a=b`,
      415,
      'unsupported_media_type',
      'received "application/x-www-form-urlencoded"',
    ],
    [
      'another charset',
      `${head('POST', '/v1/completions', `${json}; charset=latin1`, 'Content-Length: 2')}{}`,
      415,
      'unsupported_media_type',
      'UTF-8',
    ],
    ['a compressed body', post('{}', 'Content-Encoding: gzip'), 415, 'unsupported_media_type', 'Content-Encoding'],
    ['a body that says it is too large', post(' '.repeat(2 ** 20 + 1)), 413, 'body_too_large', 'at most 1048576 bytes'],
    [
      'chunks that are too large',
      chunked(...Array(17).fill(`10000\r\n${' '.repeat(2 ** 16)}\r\n`), '0\r\n\r\n'),
      413,
      'body_too_large',
      'at most 1048576 bytes',
    ],
    ['an empty body', post(''), 400, 'empty_body', 'cannot be empty'],
    ['bytes that are not UTF-8', post(Buffer.from([0x22, 0xff, 0x22])), 400, 'invalid_utf8', 'UTF-8'],
    ['JSON that ends too early', post('{"prompt":'), 400, 'invalid_json', 'breaks off at the end'],
    [
      'JSON with a mistake',
      post('{"prompt": "a",\n "n": 1,}'),
      400,
      'invalid_json',
      'unexpected "}" at line 2, column 9',
    ],
    ['a number that is not JSON', post('{"n": NaN}'), 400, 'invalid_json', 'unexpected "N" at line 1, column 7'],
    ['deep brackets', post(`${'['.repeat(500_000)}`), 400, 'invalid_json', 'breaks off at the end'],
  ])('%s is refused', async (_, bytes, status, code, message) => {
    const answers = await exchange(bytes);
    expect(answers.map((answer) => answer.status)).toEqual([status]);
    const error = expectOpenAiError(answers[0]!);
    expect(error.code).toContain(code);
    expect(error.message).toContain(message);
  });

  it.each([
    ['GET', '/v1/completions', 'POST'],
    ['PUT', '/v1/completions', 'POST'],
    ['OPTIONS', '/v1/completions', 'POST'],
    ['DELETE', '/v1/models/tiny', 'GET'],
    ['POST', '/health', 'GET'],
  ])('%s %s is refused with the methods that are allowed', async (method, path, allowed) => {
    const [answer] = await exchange(head(method, path, 'Content-Length: 0'));
    expect(answer!.status).toBe(405);
    expect(answer!.headers).toContain(`allow: ${allowed.toLowerCase()}`);
    expect(expectOpenAiError(answer!)).toMatchObject({ code: 'method_not_allowed' });
  });

  it.each([
    ['{"__proto__": {"n": 3}}', '__proto__: unknown parameter'],
    [
      '{"prompt": "a", "stream": true, "stream_options": {"__proto__": {"include_usage": true}}}',
      'stream_options: expected',
    ],
    ['{"prompt": "a", "logit_bias": {"__proto__": {}}}', 'logit_bias: this server cannot do that'],
    ['{"prompt": {"__proto__": []}}', 'prompt: expected a text'],
    [`{"prompt": "a", "n": ${'['.repeat(400_000)}${']'.repeat(400_000)}}`, 'n: expected a whole number'],
    [`{"prompt": [${'['.repeat(400_000)}${']'.repeat(400_000)}]}`, 'prompt: token 0: expected a whole number'],
    [`{"${'x'.repeat(500_000)}": 1}`, 'unknown parameter'],
  ])('%.60s changes nothing but the answer', async (body, message) => {
    const [answer] = await exchange(post(body));
    expect(answer!.status).toBe(400);
    expect(expectOpenAiError(answer!).message).toContain(message);
    expect(answer!.body.length).toBeLessThan(1_000);
    expect('n' in {}).toBe(false);
  });

  it('that does not arrive in time is refused: its headers, its body, its chunks', async () => {
    const slow = await open({ requestTimeoutMs: 300 });
    const to = Number(new URL(slow.urls.here).port);
    const answers = await Promise.all([
      exchange('GET /health HTTP/1.1\r\nHost: loc', to),
      exchange(`${head('POST', '/v1/completions', json, 'Content-Length: 100')}{"prom`, to),
      exchange(chunked('5\r\n{"a":\r\n'), to),
    ]);
    for (const [answer] of answers) {
      expect(answer!.status).toBe(408);
      expect(expectOpenAiError(answer!)).toMatchObject({ code: 'request_timeout' });
    }
    await slow.close(0);
  });

  it('after one that is, on the same connection, ends the connection after both are told', async () => {
    const good = 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n';
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.write(good);
    while (!text.includes('"status":"ok"')) await once(socket, 'data');
    socket.write('garbage\r\n\r\n');
    await once(socket, 'close');
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(['200', '400']);
  });

  it('in the middle of a stream cuts the stream, and nothing is written into it', async () => {
    const body = JSON.stringify({ prompt: 'the ', max_tokens: 65_536, stream: true });
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.write(post(body).toString().replace('Connection: close\r\n', ''));
    while (!text.includes('data: ')) await once(socket, 'data');
    socket.write('garbage\r\n\r\n');
    await once(socket, 'close');
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
  });

  it('keeps no connection of a client that says nothing when the server closes', async () => {
    const other = await open();
    const socket = connect(Number(new URL(other.urls.here).port), '127.0.0.1');
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    // The server has taken the connection too.
    await sleep(20);
    const closed = once(socket, 'close');
    await other.close(0);
    await closed;
  });
});
