/** An answer of server-sent events, to a client that may read slowly, or not at all any more. */
import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';

/** A connection through which nothing goes for so long may be closed by something in between. */
const quietMs = 15_000;
/** An answer that has ended, and of which the client takes nothing for so long, is cut off: it holds memory. */
const unreadMs = 60_000;

/** Cuts the connection if its client takes nothing of what is left of an answer for so long. For an answer that is complete. */
export function cutOffUnread(raw: ServerResponse, timeoutMs = unreadMs): void {
  // A timeout of the socket knows a slow reader from one that has stopped; the next request on the connection resets it.
  raw.setTimeout(timeoutMs, () => raw.destroy());
}

/** What every answer tells browsers: what the page may load, and that nothing of it is to be kept or passed on. */
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

  /** Takes the connection of `reply`, and sends the headers that were set there. */
  constructor(reply: FastifyReply, times: { readonly quietMs?: number; readonly unreadMs?: number } = {}) {
    reply.hijack();
    const { raw } = reply;
    this.#raw = raw;
    this.#unreadMs = times.unreadMs ?? unreadMs;
    const headers = Object.entries(reply.getHeaders()) as [string, string][];
    raw.writeHead(200, { ...Object.fromEntries(headers), 'content-type': 'text/event-stream' });
    raw.flushHeaders();
    // A comment; a connection on which something waits is not quiet.
    this.#timer = setInterval(() => {
      if (!raw.writableNeedDrain) this.#write(':\n\n');
    }, times.quietMs ?? quietMs);
    raw.on('close', () => clearInterval(this.#timer));
    // Of this connection alone: without a listener it would end the process.
    raw.on('error', () => raw.destroy());
  }

  /** What the client has not taken, in bytes. */
  get unreadBytes(): number {
    return this.#raw.writableLength;
  }

  /** Calls back whenever the client has taken everything after `send` returned false. */
  onDrain(listener: () => void): void {
    this.#raw.on('drain', listener);
  }

  /** Sends an event, unless the answer has ended. False: the client is behind. */
  send(data: string): boolean {
    this.#timer.refresh();
    return this.#write(`data: ${data}\n\n`);
  }

  /** Ends the answer after `last`, an event as it is sent; the client has some time to take what is left. */
  end(last = ''): void {
    clearInterval(this.#timer);
    if (this.#raw.writableEnded || this.#raw.destroyed) return;
    this.#raw.end(last);
    cutOffUnread(this.#raw, this.#unreadMs);
  }

  /** Cuts the connection. */
  destroy(): void {
    this.#raw.destroy();
  }

  #write(text: string): boolean {
    if (this.#raw.writableEnded || this.#raw.destroyed) return false;
    return this.#raw.write(text);
  }
}
