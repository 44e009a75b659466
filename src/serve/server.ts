/**
 * A model behind HTTP: OpenAI's completions, and a page to type in. Requests are continued together (scheduler.ts), each to the text that
 * `launch generate` prints with its seed and options.
 */
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { errorCode, messageOf } from '../base/errors.ts';
import { packageRoot } from '../base/packageRoot.ts';
import type { LoadedModel } from '../run/loadModel.ts';
import { accessOf, isForeign } from '../web/access.ts';
import { cutOffUnread, EventResponse, securityHeaders } from '../web/eventResponse.ts';
import { type ListenOptions, listen, tokenFor, type Urls, urlsOf } from '../web/listen.ts';
import { ApiError } from './apiError.ts';
import { Completion, type CompletionListener, GatheredChoices } from './completion.ts';
import { type CompletionRequest, parseCompletionRequest } from './completionRequest.ts';
import { Scheduler, type SchedulerOptions } from './scheduler.ts';

export interface ServeOptions extends SchedulerOptions, ListenOptions {
  /** What clients call the model. */
  readonly modelName: string;
  /** Told of failures that are not a client's. */
  readonly onWarning: (message: string) => void;
}

/** As the build leaves it. */
const page = join(packageRoot, 'dist', 'serve', 'page');
const assets = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/base.css': ['../../web/base.css', 'text/css; charset=utf-8'],
  '/page.css': ['page.css', 'text/css; charset=utf-8'],
  '/page.js': ['page.js', 'text/javascript; charset=utf-8'],
  '/events.js': ['events.js', 'text/javascript; charset=utf-8'],
} as const;
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; " +
  "form-action 'none'; frame-ancestors 'none'";
const bodyBytesMax = 2 ** 20;
/** A request must have come after so long. */
const requestTimeoutMs = 30_000;
/** What a client may leave unread before it is cut off. */
const unreadBytesMax = 2 ** 20;

type Loaded = Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;

export class ModelServer {
  readonly #loaded: Loaded;
  readonly #options: ServeOptions;
  readonly #token: string | undefined;
  readonly #scheduler: Scheduler;
  readonly #server: FastifyInstance;
  readonly #startedSeconds = Math.floor(Date.now() / 1000);
  #isClosing = false;

  private constructor(loaded: Loaded, options: ServeOptions) {
    this.#loaded = loaded;
    this.#options = options;
    this.#token = tokenFor(options.host);
    this.#scheduler = new Scheduler(loaded, options);
    this.#server = Fastify({
      forceCloseConnections: true,
      bodyLimit: bodyBytesMax,
      requestTimeout: requestTimeoutMs,
      exposeHeadRoutes: false,
    });
  }

  /** @throws UserError if the port is taken or the address is none of this machine */
  static async open(loaded: Loaded, options: ServeOptions): Promise<ModelServer> {
    const server = new ModelServer(loaded, options);
    try {
      await server.#route();
      await listen(server.#server, 'the server', options);
    } catch (error) {
      await server.#server.close();
      throw error;
    }
    return server;
  }

  /** What to open in a browser, with the token if one is needed. */
  get urls(): Urls {
    return urlsOf(this.#server, this.#token);
  }

  /** Needed from everybody where it is there: `Authorization: Bearer TOKEN`. */
  get token(): string | undefined {
    return this.#token;
  }

  /** Takes no more requests, waits for those that are under way, `graceMs` at most, and ends every connection. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    const end = new AbortController();
    await Promise.race([
      this.#scheduler.idle(),
      sleep(graceMs, undefined, { signal: end.signal }).catch(() => undefined),
    ]);
    end.abort();
    await this.#server.close();
    // The connections that were cut have cancelled their texts.
    await this.#scheduler.idle();
  }

  async #route(): Promise<void> {
    const server = this.#server;
    // Whatever a page of another site may send without asking is not JSON.
    server.removeContentTypeParser('text/plain');
    server.addHook('onRequest', async (request, reply) => this.#admit(request, reply));
    server.addHook('onSend', async (_, reply) => cutOffUnread(reply.raw));
    server.setErrorHandler(async (error: FastifyError, _, reply) => this.#refuse(error, reply));
    server.setNotFoundHandler(async ({ method, url }, reply) => {
      const message = `there is no ${method} ${url.split('?')[0]!.slice(0, 200)} here`;
      return this.#refuse(new ApiError(message, { status: 404, code: 'unknown_url' }), reply);
    });
    for (const [path, [file, type]] of Object.entries(assets)) {
      const body = await readFile(join(page, file), 'utf8');
      server.get(path, async (_, reply) => reply.type(type).send(body));
    }
    server.get('/health', async () => ({
      status: this.#isClosing ? 'closing' : 'ok',
      running: this.#scheduler.running,
      waiting: this.#scheduler.waiting,
    }));
    server.get('/v1/models', async () => ({ object: 'list', data: [this.#modelBody] }));
    server.get('/v1/models/*', async (request) => {
      const { '*': name } = request.params as { '*': string };
      if (name === this.#options.modelName) return this.#modelBody;
      throw new ApiError(`there is no model ${name.slice(0, 200)} here`, { status: 404, code: 'model_not_found' });
    });
    server.post('/v1/completions', async (request, reply) => this.#complete(request, reply));
  }

  get #modelBody(): object {
    return { id: this.#options.modelName, object: 'model', created: this.#startedSeconds, owned_by: 'lockstep' };
  }

  async #admit(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    reply.headers(securityHeaders(policy));
    const { host, cookie, authorization, origin } = request.headers;
    if (isForeign(origin, host)) {
      throw new ApiError('a page of another site may not use this server', { status: 403, code: 'foreign_origin' });
    }
    const { token } = request.query as { token?: unknown };
    const queryToken = typeof token === 'string' ? token : undefined;
    const access = accessOf(
      { token: this.#token, port: request.socket.localPort },
      { host, cookie, authorization, queryToken },
    );
    if (access.allowed) {
      if (access.cookie !== undefined) reply.header('set-cookie', access.cookie);
      return;
    }
    // Whether the server lives is nothing to hide from who watches over it.
    if (this.#token !== undefined && request.url === '/health') return;
    if (this.#token === undefined) throw new ApiError(access.reason, { status: 403, code: 'foreign_host' });
    throw new ApiError('the token is missing or wrong: send the header Authorization: Bearer TOKEN', {
      status: 401,
      type: 'authentication_error',
      code: 'invalid_api_key',
    });
  }

  /** Whatever was thrown, as clients expect it. */
  #refuse(error: Error & { readonly statusCode?: number }, reply: FastifyReply): FastifyReply {
    if (error instanceof ApiError) {
      const { status, retryAfterSeconds } = error.options;
      if (retryAfterSeconds !== undefined) reply.header('retry-after', String(retryAfterSeconds));
      return reply.code(status).send(error.body);
    }
    const status = error.statusCode ?? 500;
    if (status < 500)
      return reply.code(status).send(new ApiError(messageOf(error), { status, code: errorCode(error) }).body);
    return reply.code(500).send(this.#failure(error).body);
  }

  /** Of the model or of this program: its text is for who runs the server. */
  #failure(error: unknown): ApiError {
    this.#options.onWarning(`a request failed: ${messageOf(error)}`);
    return new ApiError('the server failed; its log says why', { status: 500, type: 'server_error' });
  }

  #complete(request: FastifyRequest, reply: FastifyReply): Promise<object | undefined> {
    if (this.#isClosing) {
      throw new ApiError('the server is closing', { status: 503, type: 'server_error', retryAfterSeconds: 5 });
    }
    const { modelName: model, batchMax, queueMax } = this.#options;
    const parsed = parseCompletionRequest(request.body, {
      model,
      tokenizer: this.#loaded.tokenizer,
      vocabSize: this.#loaded.model.config.vocabSize,
      choicesMax: Math.min(batchMax + queueMax, 128),
      randomSeed: () => randomInt(2 ** 32),
    });
    return parsed.stream ? this.#stream(parsed, reply) : this.#answer(parsed, reply);
  }

  /** Queues a request whose client is on the other end of `reply`: when that goes, so does the request. */
  #submit(parsed: CompletionRequest, reply: FastifyReply, listener: CompletionListener): Completion {
    const { modelName: model } = this.#options;
    const { tokenizer } = this.#loaded;
    const completion = new Completion(parsed, { model, tokenizer, scheduler: this.#scheduler }, listener);
    if (!completion.submit()) {
      throw new ApiError('too many requests are waiting: try again later', {
        status: 429,
        type: 'rate_limit_error',
        code: 'queue_full',
        retryAfterSeconds: this.#scheduler.retryAfterSeconds,
      });
    }
    reply.raw.on('close', () => completion.cancel());
    return completion;
  }

  #answer(parsed: CompletionRequest, reply: FastifyReply): Promise<object | undefined> {
    return new Promise((resolve, reject) => {
      const gathered = new GatheredChoices(parsed.choices.length);
      const completion = this.#submit(parsed, reply, {
        onChunk: (chunk) => gathered.add(chunk),
        onEnd: () => resolve(completion.body(gathered.choices, true)),
        onError: reject,
      });
      reply.raw.on('close', () => {
        // The client is gone: there is nobody to answer.
        if (!reply.sent) reply.hijack();
        resolve(undefined);
      });
    });
  }

  async #stream(parsed: CompletionRequest, reply: FastifyReply): Promise<FastifyReply> {
    let events: EventResponse | undefined;
    const send = (data: string): void => {
      events?.send(data);
      if (events !== undefined && events.unreadBytes > unreadBytesMax) events.destroy();
    };
    const completion = this.#submit(parsed, reply, {
      onChunk: (chunk) => send(JSON.stringify(completion.body([chunk], false))),
      onEnd: () => {
        if (parsed.includeUsage) send(JSON.stringify(completion.body([], true)));
        send('[DONE]');
        events?.end();
      },
      onError: (error) => {
        send(JSON.stringify(this.#failure(error).body));
        events?.end();
      },
    });
    // The first piece comes in a later turn of the event loop.
    events = new EventResponse(reply);
    return reply;
  }
}
