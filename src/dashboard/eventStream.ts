/**
 * One page that looks: the state of the runs as server-sent events. What has changed since the last event is told when the page has
 * taken that one; a slow page gets fewer, larger events, and costs no memory.
 */
import type { EventResponse } from '../web/eventResponse.ts';
import type { SeenRuns, UpdateEncoder } from './updateEncoder.ts';

export class EventStream {
  readonly #response: EventResponse;
  readonly #encoder: UpdateEncoder;
  #seen: SeenRuns = [];
  #isWaiting = false;

  constructor(response: EventResponse, encoder: UpdateEncoder) {
    this.#response = response;
    this.#encoder = encoder;
    response.onDrain(() => {
      this.#isWaiting = false;
      this.send();
    });
  }

  /** Tells what is new, unless the page has not taken what it was told before. */
  send(): void {
    if (this.#isWaiting) return;
    const told = this.#encoder.encode(this.#seen);
    if (told === undefined) return;
    this.#seen = told.seen;
    this.#isWaiting = !this.#response.send(told.text);
  }

  end(): void {
    this.#response.end('event: end\ndata: 0\n\n');
  }
}
