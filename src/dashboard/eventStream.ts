/**
 * One page that looks: the state of the runs as server-sent events. What has changed since the last event is told when the page has
 * taken that one; a slow page gets fewer, larger events, and costs no memory.
 */
import type { ServerResponse } from 'node:http';
import type { IndexedUpdate } from './runUpdate.ts';
import type { RunView, Seen } from './runView.ts';

/** A connection through which nothing goes for so long may be closed by something in between. */
const quietMs = 15_000;

export class EventStream {
  readonly #response: ServerResponse;
  readonly #runs: readonly RunView[];
  readonly #seen = new Map<RunView, { seen: Seen; version: number }>();
  #isWaiting = false;
  #sentMs = 0;

  constructor(response: ServerResponse, runs: readonly RunView[]) {
    this.#response = response;
    this.#runs = runs;
    response.on('drain', () => {
      this.#isWaiting = false;
      this.send();
    });
  }

  /** Tells what is new, unless the page has not taken what it was told before. */
  send(): void {
    if (this.#isWaiting || this.#response.writableEnded) return;
    const changed = this.#runs.filter((run) => this.#seen.get(run)?.version !== run.version);
    if (changed.length === 0) {
      if (performance.now() - this.#sentMs > quietMs) this.#write(':\n\n');
      return;
    }
    const updates = changed.map((run): IndexedUpdate => {
      const { version } = run;
      const { update, seen } = run.update(this.#seen.get(run)?.seen);
      this.#seen.set(run, { seen, version });
      return { ...update, index: this.#runs.indexOf(run) };
    });
    this.#write(`data: ${JSON.stringify(updates)}\n\n`);
  }

  end(): void {
    this.#response.end('event: end\ndata: 0\n\n');
  }

  #write(text: string): void {
    this.#sentMs = performance.now();
    this.#isWaiting = !this.#response.write(text);
  }
}
