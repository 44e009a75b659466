/** A response of server-sent events to a client that may read slowly, or may have stopped reading. */
import type { ServerResponse } from 'node:http';

/** After this time without data, a proxy may close the connection. */
const quietMs = 15_000;
/** If the client reads nothing of an ended response for this time, the connection is closed, because it holds memory. */
const unreadMs = 60_000;

/** Closes the connection if the client reads nothing of the rest of a complete response for this time. */
export function cutOffUnread(raw: ServerResponse, timeoutMs = unreadMs): void {
  // A socket timeout distinguishes a slow reader from one that has stopped; the next request on the connection resets it.
  raw.setTimeout(timeoutMs, () => disconnect(raw));
}

/** Closes the connection of a response, also where an earlier response still occupies it: Node would only mark this one as destroyed. */
export function disconnect(raw: ServerResponse): void {
  raw.destroy();
  raw.req.socket.destroy();
}

/** Headers of every response: what the page may load, and that browsers must not cache it or send a referrer. */
export function securityHeaders(contentSecurityPolicy: string): Record<string, string> {
  return {
    'content-security-policy': contentSecurityPolicy,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
  };
}

export class EventResponse {
  readonly #raw: ServerResponse;
  readonly #timer: NodeJS.Timeout;
  readonly #unreadMs: number;

  /** Sends the headers, with those that were set on `raw` before. */
  constructor(raw: ServerResponse, times: { readonly quietMs?: number; readonly unreadMs?: number } = {}) {
    this.#raw = raw;
    this.#unreadMs = times.unreadMs ?? unreadMs;
    raw.writeHead(200, { 'content-type': 'text/event-stream' });
    raw.flushHeaders();
    // A comment; a connection with waiting data is not idle.
    this.#timer = setInterval(() => {
      if (!raw.writableNeedDrain) this.#write(':\n\n');
    }, times.quietMs ?? quietMs);
    raw.on('close', () => clearInterval(this.#timer));
    // An error of this connection only: without a listener it would end the process.
    raw.on('error', () => disconnect(raw));
  }

  /** Number of bytes that the client has not read. */
  get unreadBytes(): number {
    return this.#raw.writableLength;
  }

  /** Calls back whenever the client has read everything after `send` returned false. */
  onDrain(listener: () => void): void {
    this.#raw.on('drain', listener);
  }

  /** Sends an event, unless the response has ended. False: the client is behind. */
  send(data: string): boolean {
    this.#timer.refresh();
    return this.#write(`data: ${data}\n\n`);
  }

  /** Ends the response after `last`, an encoded event; the client has some time to read the rest. */
  end(last = ''): void {
    clearInterval(this.#timer);
    if (this.#raw.writableEnded || this.#raw.destroyed) return;
    this.#raw.end(last);
    cutOffUnread(this.#raw, this.#unreadMs);
  }

  /** Closes the connection. */
  destroy(): void {
    disconnect(this.#raw);
  }

  #write(text: string): boolean {
    if (this.#raw.writableEnded || this.#raw.destroyed) return false;
    return this.#raw.write(text);
  }
}
