/**
 * One page that looks: the state of the runs as server-sent events. What has changed since the last event is told when the page has
 * taken that one; a slow page gets fewer, larger events, and costs no memory.
 */
import type { ServerResponse } from 'node:http';
import type { SeenRuns, UpdateEncoder } from './updateEncoder.ts';

/** A connection through which nothing goes for so long may be closed by something in between. */
const quietMs = 15_000;

export class EventStream {
  readonly #response: ServerResponse;
  readonly #encoder: UpdateEncoder;
  #seen: SeenRuns = [];
  #isWaiting = false;
  #sentMs = 0;

  constructor(response: ServerResponse, encoder: UpdateEncoder) {
    this.#response = response;
    this.#encoder = encoder;
    response.on('drain', () => {
      this.#isWaiting = false;
      this.send();
    });
  }

  /** Tells what is new, unless the page has not taken what it was told before. */
  send(): void {
    if (this.#isWaiting || this.#response.writableEnded) return;
    const told = this.#encoder.encode(this.#seen);
    if (told !== undefined) {
      this.#seen = told.seen;
      this.#write(`data: ${told.text}\n\n`);
    } else if (performance.now() - this.#sentMs > quietMs) this.#write(':\n\n');
  }

  end(): void {
    this.#response.end('event: end\ndata: 0\n\n');
  }

  #write(text: string): void {
    this.#sentMs = performance.now();
    this.#isWaiting = !this.#response.write(text);
  }
}
