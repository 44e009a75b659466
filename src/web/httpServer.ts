/**
 * The HTTP server of both pages, on `node:http`: routes, and refusals in the form that the server's clients expect, also of bytes that are
 * not HTTP. Closing it ends every connection.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { errorCode } from '../base/errors.ts';
import { cutOffUnread, disconnect } from './eventResponse.ts';
import { HttpError, protocolError } from './httpError.ts';

/** A request and its response. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The path as it was sent, without the query. */
  readonly path: string;
  /** For a route that ends with `*`: the decoded text in its place. */
  readonly rest: string;
  readonly query: URLSearchParams;
}

/** Sends the response, or throws: an HttpError for the client, anything else for a failure of this program. */
export type Handler = (exchange: Exchange) => void | Promise<void>;

export interface Route {
  readonly method: 'GET' | 'POST';
  /** The path of the request; `/name/*` matches every path that starts with `/name/`. */
  readonly path: string;
  readonly handle: Handler;
}

export interface HttpServerOptions {
  readonly routes: readonly Route[];
  /** Headers of every response. */
  readonly headers: Readonly<Record<string, string>>;
  /** Called before every route, and for paths that do not exist. Throws an HttpError if the client may not use the server. */
  readonly admit: (exchange: Exchange) => void;
  /** The body that tells a client why its request is refused. */
  readonly refusal: (error: HttpError) => { readonly type: string; readonly body: string };
  /** What a client is told of a failure of this program. */
  readonly failure: (error: unknown) => HttpError;
  /** Time in which a complete request must arrive. Default 30 s. */
  readonly requestTimeoutMs?: number;
}

const headerBytesMax = 16_384;
/** Time that an idle connection stays open for its next request. */
const keepAliveMs = 72_000;
/** Time that a client has to read the last bytes before its connection is cut. */
const lingerMs = 1_000;

export class HttpServer {
  /** For `listen` (listen.ts). */
  readonly server: Server;
  readonly #options: HttpServerOptions;
  readonly #timeoutMs: number;
  readonly #sockets = new Set<Socket>();
  /** Unfinished responses, by connection. */
  readonly #open = new WeakMap<Duplex, Set<ServerResponse>>();
  readonly #refused = new WeakSet<Duplex>();

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#timeoutMs = options.requestTimeoutMs ?? 30_000;
    this.server = createServer({
      maxHeaderSize: headerBytesMax,
      headersTimeout: this.#timeoutMs,
      requestTimeout: this.#timeoutMs,
      connectionsCheckingInterval: Math.min(this.#timeoutMs, 5_000),
      keepAliveTimeout: keepAliveMs,
      // Refused below, in the form that clients expect.
      requireHostHeader: false,
    });
    this.server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        for (const response of this.#open.get(socket) ?? []) endQueued(response);
      });
    });
    this.server.on('request', (request, response) => void this.#answer(request, response));
    this.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
      const refused = new HttpError('expected Expect: 100-continue, or none', { status: 417, code: 'expectation' });
      void this.#answer(request, response, refused);
    });
    this.server.on('connect', ({ method, url }: IncomingMessage, socket: Duplex) => {
      socket.on('error', () => socket.destroy());
      this.#refuseBytes(socket, notAllowed(method ?? '', url ?? '', []));
    });
    this.server.on('clientError', (error, socket) => {
      const limits = { headerBytesMax, timeoutMs: this.#timeoutMs };
      this.#refuseBytes(socket, protocolError(errorCode(error), limits));
    });
  }

  /** Ends every connection: those whose responses are complete once these are sent, the others at once. */
  async close(): Promise<void> {
    // A server that does not listen yet has nothing to close.
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const socket of this.#sockets) {
      const open = [...(this.#open.get(socket) ?? [])];
      if (open.length > 0 && open.every((response) => response.writableEnded)) socket.destroySoon();
      else socket.destroy();
    }
    // A client that reads nothing does not hold the server up.
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, lingerMs);
    await closed;
    clearTimeout(timer);
  }

  async #answer(request: IncomingMessage, response: ServerResponse, refused?: HttpError): Promise<void> {
    const { socket } = request;
    const open = this.#open.get(socket) ?? new Set();
    this.#open.set(socket, open.add(response));
    response.on('close', () => open.delete(response));
    // Concerns this connection alone; without a listener it would end the process.
    response.on('error', () => disconnect(response));
    for (const [name, value] of Object.entries(this.#options.headers)) response.setHeader(name, value);
    try {
      if (refused !== undefined) throw refused;
      const { handle, exchange } = this.#find(request, response);
      await handle(exchange);
    } catch (error) {
      // The client has disconnected, or has its answer already.
      if (response.destroyed || this.#refused.has(socket)) return;
      const known = error instanceof HttpError ? error : this.#options.failure(error);
      if (response.headersSent) disconnect(response);
      else this.#refuse(response, known);
    }
  }

  /** @throws HttpError if there is no such route, or the client may not use it */
  #find(request: IncomingMessage, response: ServerResponse): { handle: Handler; exchange: Exchange } {
    const { method = '', url = '' } = request;
    const queryAt = url.indexOf('?');
    const path = queryAt < 0 ? url : url.slice(0, queryAt);
    const query = new URLSearchParams(queryAt < 0 ? '' : url.slice(queryAt));
    const routes = this.#options.routes.filter((route) => restOf(route, path) !== undefined);
    const route = routes.find((one) => one.method === method);
    const encoded = (route && restOf(route, path)) ?? '';
    const exchange = { request, response, path, query, rest: decoded(encoded) };
    if (request.headers.host === undefined && request.httpVersion !== '1.0') {
      throw new HttpError('the header Host is missing', { status: 400, code: 'no_host' });
    }
    this.#options.admit(exchange);
    if (route !== undefined) return { handle: route.handle, exchange };
    if (routes.length > 0) throw notAllowed(method, path, routes);
    throw new HttpError(`${method} ${path.slice(0, 200)} does not exist on this server`, {
      status: 404,
      code: 'unknown_url',
    });
  }

  #refuse(response: ServerResponse, error: HttpError): void {
    const { type, body } = this.#options.refusal(error);
    send(response, { status: error.status, type, body, headers: error.headers });
  }

  /** Writes a response by hand, for bytes that are not a complete request: Node makes no response object for them. */
  #refuseBytes(socket: Duplex, error: HttpError): void {
    // The bytes that follow are refused too; the client is told once.
    if (this.#refused.has(socket)) return;
    this.#refused.add(socket);
    const hasBegun = [...(this.#open.get(socket) ?? [])].some(({ headersSent }) => headersSent);
    if (!socket.writable || hasBegun) {
      socket.destroy();
      return;
    }
    const { type, body } = this.#options.refusal(error);
    const headers = {
      ...this.#options.headers,
      ...error.headers,
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      connection: 'close',
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 ${error.status} ${STATUS_CODES[error.status]}\r\n${lines.join('')}\r\n${body}`);
    // If the socket were destroyed now, bytes that the client still sends would make its system discard the answer.
    const timer = setTimeout(() => socket.destroy(), lingerMs);
    socket.on('close', () => clearTimeout(timer));
  }
}

/**
 * Closes a response whose connection has closed while it waited for an earlier response on it (pipelining). Node emits `close` only for the
 * response that the connection serves, so handlers would work for a client that has disconnected.
 */
function endQueued(response: ServerResponse): void {
  if (response.socket !== null || response.closed) return;
  response.destroy();
  response.emit('close');
}

/** Sends a complete body, unless the client has disconnected. */
export function send(
  response: ServerResponse,
  { status = 200, type, body, headers = {} }: { status?: number; type: string; body: string; headers?: object },
): void {
  if (response.destroyed || response.writableEnded) return;
  response.writeHead(status, { ...headers, 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
  cutOffUnread(response);
}

export const jsonType = 'application/json; charset=utf-8';

/** Sends `value` as JSON, unless the client has disconnected. */
export function sendJson(response: ServerResponse, value: object): void {
  send(response, { type: jsonType, body: JSON.stringify(value) });
}

/** A route that always sends the same text. */
export function asset(path: string, type: string, body: string): Route {
  return { method: 'GET', path, handle: ({ response }) => send(response, { type, body }) };
}

function restOf({ path }: Route, requested: string): string | undefined {
  if (!path.endsWith('*')) return path === requested ? '' : undefined;
  const start = path.slice(0, -1);
  return requested.startsWith(start) ? requested.slice(start.length) : undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new HttpError('the path has a % that is not followed by the code of a character', {
      status: 400,
      code: 'invalid_path',
    });
  }
}

function notAllowed(method: string, path: string, routes: readonly Route[]): HttpError {
  const methods = routes.map((route) => route.method).join(', ');
  const message = `${method} is not allowed for ${path.slice(0, 200)}${methods === '' ? '' : `; it takes ${methods}`}`;
  return new HttpError(message, { status: 405, code: 'method_not_allowed', headers: { allow: methods } });
}
