/**
 * A model behind HTTP: OpenAI's completions and chat completions, and a page to type in. Requests are continued together (scheduler.ts), each to the text that
 * `launch generate` prints with its seed and options.
 */
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fullMessageOf, messageOf, UserError } from '../base/errors.ts';
import { packageRoot } from '../base/packageRoot.ts';
import { templateOf } from '../data/tokenizers/chatTemplate.ts';
import { endTokensOf } from '../run/endTokens.ts';
import type { LoadedModel } from '../run/loadModel.ts';
import { promptTokensMax, readsSources } from '../run/modelInput.ts';
import { ChatFormat } from '../task/chatFormat.ts';
import { accessOf, isForeign } from '../web/access.ts';
import { EventResponse, securityHeaders } from '../web/eventResponse.ts';
import { asset, type Exchange, HttpServer, jsonType, type Route, sendJson } from '../web/httpServer.ts';
import { type ListenOptions, listen, tokenFor, type Urls, urlsOf } from '../web/listen.ts';
import { readJson } from '../web/requestBody.ts';
import { ApiError, errorBody } from './apiError.ts';
import { parseChatRequest } from './chatRequest.ts';
import { Completion, type CompletionListener, GatheredChoices } from './completion.ts';
import { type CompletionRequest, parseCompletionRequest } from './completionRequest.ts';
import { Scheduler, type SchedulerOptions } from './scheduler.ts';

export interface ServeOptions extends SchedulerOptions, ListenOptions {
  /** What clients call the model. */
  readonly modelName: string;
  /** Told of failures that are not a client's. */
  readonly onWarning: (message: string) => void;
  /** Time in which a complete request must arrive. Default 30 s. */
  readonly requestTimeoutMs?: number;
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
/** What a client may leave unread before it is cut off. */
const unreadBytesMax = 2 ** 20;

type Loaded = Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;

export class ModelServer {
  readonly #loaded: Loaded;
  readonly #options: ServeOptions;
  readonly #token: string | undefined;
  readonly #scheduler: Scheduler;
  readonly #server: HttpServer;
  /** Or why the model has none. */
  readonly #chatFormat: ChatFormat | string;
  readonly #endTokens: readonly number[];
  readonly #startedSeconds = Math.floor(Date.now() / 1000);
  #isClosing = false;

  private constructor(loaded: Loaded, options: ServeOptions, assetRoutes: readonly Route[]) {
    this.#loaded = loaded;
    this.#options = options;
    this.#token = tokenFor(options.host);
    this.#scheduler = new Scheduler(loaded, options);
    this.#chatFormat = chatFormatOf(loaded);
    this.#endTokens = endTokensOf(loaded.tokenizer);
    this.#server = new HttpServer({
      routes: [...assetRoutes, ...this.#routes],
      headers: securityHeaders(policy),
      admit: (exchange) => this.#admit(exchange),
      refusal: (error) => ({ type: jsonType, body: JSON.stringify(errorBody(error)) }),
      failure: (error) => this.#failure(error),
      ...(options.requestTimeoutMs !== undefined && { requestTimeoutMs: options.requestTimeoutMs }),
    });
  }

  /** @throws UserError if the port is taken or the address does not belong to this machine */
  static async open(loaded: Loaded, options: ServeOptions): Promise<ModelServer> {
    const server = new ModelServer(loaded, options, await readAssets());
    try {
      await listen(server.#server.server, 'the server', options);
    } catch (error) {
      await server.#server.close();
      throw error;
    }
    return server;
  }

  /** What to open in a browser, with the token if one is needed. */
  get urls(): Urls {
    return urlsOf(this.#server.server, this.#token);
  }

  /** Required from every client if set: `Authorization: Bearer TOKEN`. */
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

  get #routes(): Route[] {
    return [
      {
        method: 'GET',
        path: '/health',
        handle: ({ response }) => {
          const status = this.#isClosing ? 'closing' : 'ok';
          sendJson(response, { status, running: this.#scheduler.running, waiting: this.#scheduler.waiting });
        },
      },
      {
        method: 'GET',
        path: '/v1/models',
        handle: ({ response }) => sendJson(response, { object: 'list', data: [this.#modelBody] }),
      },
      {
        method: 'GET',
        path: '/v1/models/*',
        handle: ({ response, rest }) => {
          if (rest === this.#options.modelName) return sendJson(response, this.#modelBody);
          throw new ApiError(`there is no model ${rest.slice(0, 200)} here`, { status: 404, code: 'model_not_found' });
        },
      },
      {
        method: 'POST',
        path: '/v1/completions',
        handle: (exchange) => this.#complete(exchange, (body) => this.#parseCompletion(body)),
      },
      {
        method: 'POST',
        path: '/v1/chat/completions',
        handle: (exchange) => this.#complete(exchange, (body) => this.#parseChat(body)),
      },
    ];
  }

  get #modelBody(): object {
    return { id: this.#options.modelName, object: 'model', created: this.#startedSeconds, owned_by: 'lockstep' };
  }

  #admit({ request, response, path, query }: Exchange): void {
    const { host, cookie, authorization } = request.headers;
    if (isForeign(request.headers)) {
      throw new ApiError('a page of another site may not use this server', { status: 403, code: 'foreign_origin' });
    }
    const access = accessOf(
      { token: this.#token, port: request.socket.localPort },
      { host, cookie, authorization, queryToken: query.get('token') ?? undefined },
    );
    if (access.allowed) {
      if (access.cookie !== undefined) response.setHeader('set-cookie', access.cookie);
      return;
    }
    // Whether the server lives is nothing to hide from who watches over it.
    if (this.#token !== undefined && path === '/health') return;
    if (this.#token === undefined) throw new ApiError(access.reason, { status: 403, code: 'foreign_host' });
    throw new ApiError('the token is missing or wrong: send the header Authorization: Bearer TOKEN', {
      status: 401,
      type: 'authentication_error',
      code: 'invalid_api_key',
    });
  }

  /** A failure of the model or of this program. Its text is for the operator of the server. */
  #failure(error: unknown): ApiError {
    this.#options.onWarning(`a request failed: ${fullMessageOf(error)}`);
    return new ApiError('the server failed; its log says why', { status: 500, type: 'server_error' });
  }

  async #complete({ request, response }: Exchange, parse: (body: unknown) => CompletionRequest): Promise<void> {
    const body = await readJson(request, bodyBytesMax);
    // The client has disconnected.
    if (response.destroyed) return;
    if (this.#isClosing) {
      throw new ApiError('the server is closing', { status: 503, type: 'server_error', retryAfterSeconds: 5 });
    }
    const parsed = parse(body);
    if (parsed.stream) this.#stream(parsed, response);
    else await this.#answer(parsed, response);
  }

  #parseCompletion(body: unknown): CompletionRequest {
    const { modelName: model, batchMax, queueMax } = this.#options;
    const { tokenizer } = this.#loaded;
    const { vocabSize, blockSize } = this.#loaded.model.config;
    const choicesMax = Math.min(batchMax + queueMax, 128);
    const endTokens = this.#endTokens;
    const sizes = { sourceMax: promptTokensMax(this.#loaded), targetMax: blockSize };
    const targets = readsSources(this.#loaded) ? sizes : undefined;
    const limits = { model, tokenizer, vocabSize, targets, endTokens, choicesMax, randomSeed };
    return parseCompletionRequest(body, limits);
  }

  #parseChat(body: unknown): CompletionRequest {
    const format = this.#chatFormat;
    if (typeof format === 'string') {
      throw new ApiError(`${format}; use /v1/completions`, { status: 400, code: 'no_chat_template' });
    }
    const { blockSize } = this.#loaded.model.config;
    return parseChatRequest(body, { model: this.#options.modelName, format, blockSize, randomSeed });
  }

  /** Queues a request whose client is on the other end of `response`: when that goes, so does the request. */
  #submit(parsed: CompletionRequest, response: ServerResponse, listener: CompletionListener): Completion {
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
    response.on('close', () => completion.cancel());
    return completion;
  }

  #answer(parsed: CompletionRequest, response: ServerResponse): Promise<void> {
    return new Promise((resolve, reject) => {
      const gathered = new GatheredChoices(parsed.choices.length);
      const completion = this.#submit(parsed, response, {
        onChunk: (chunk) => gathered.add(chunk),
        onEnd: () => {
          sendJson(response, completion.body(gathered.choices, { withUsage: true, isEvent: false }));
          resolve();
        },
        onError: reject,
      });
      // If the client disconnects before the end, nobody waits for the answer.
      response.on('close', resolve);
    });
  }

  #stream(parsed: CompletionRequest, response: ServerResponse): void {
    let events: EventResponse | undefined;
    const send = (data: string): void => {
      events?.send(data);
      if (events !== undefined && events.unreadBytes > unreadBytesMax) events.destroy();
    };
    const completion = this.#submit(parsed, response, {
      onChunk: (chunk) => send(JSON.stringify(completion.body([chunk], { withUsage: false, isEvent: true }))),
      onEnd: () => {
        if (parsed.includeUsage) send(JSON.stringify(completion.body([], { withUsage: true, isEvent: true })));
        send('[DONE]');
        events?.end();
      },
      onError: (error) => {
        send(JSON.stringify(errorBody(this.#failure(error))));
        events?.end();
      },
    });
    // The first piece comes in a later turn of the event loop.
    events = new EventResponse(response);
  }
}

function randomSeed(): number {
  return randomInt(2 ** 32);
}

/** Most models continue text and have no template; they are served as well. */
function chatFormatOf(loaded: Loaded): ChatFormat | string {
  if (readsSources(loaded))
    return 'this model writes the target of a source, such as its translation, and does not chat';
  try {
    const template = templateOf(loaded.tokenizer);
    return template === undefined ? 'this model has no chat template' : new ChatFormat(template, loaded.tokenizer);
  } catch (error) {
    if (error instanceof UserError) return messageOf(error);
    throw error;
  }
}

function readAssets(): Promise<Route[]> {
  return Promise.all(
    Object.entries(assets).map(async ([path, [file, type]]) =>
      asset(path, type, await readFile(join(page, file), 'utf8')),
    ),
  );
}
