/**
 * Passes the state that one member streams on to the workers that need it. The member goes on when the slowest of them has what it
 * sent, so that the coordinator holds no more than the chunks that are under way.
 */
import type { StreamPosition } from './checkpointer.ts';

export interface StateRelayOptions {
  readonly from: string;
  readonly to: readonly string[];
  readonly term: number;
  readonly step: number;
  /** A chunk for one of `to`. */
  readonly forward: (to: string, at: StreamPosition, chunk: Uint8Array) => void;
  /** To `from`: everybody has what lies before. */
  readonly acknowledge: (from: string, at: StreamPosition) => void;
}

export class StateRelay {
  readonly #options: StateRelayOptions;
  readonly #acknowledged: Map<string, number>;

  constructor(options: StateRelayOptions) {
    this.#options = options;
    this.#acknowledged = new Map(options.to.map((id) => [id, 0]));
  }

  /** Without effect unless it is of this stream. */
  chunk(from: string, at: StreamPosition, payload: Uint8Array | undefined): void {
    if (from !== this.#options.from || !this.#isOurs(at) || payload === undefined) return;
    for (const to of this.#options.to) this.#options.forward(to, at, payload);
  }

  /** Without effect unless it is of this stream. */
  acknowledged(by: string, at: StreamPosition): void {
    const before = this.#acknowledged.get(by);
    if (before === undefined || !this.#isOurs(at)) return;
    this.#acknowledged.set(by, Math.max(before, at.offset));
    const { from, term, step, acknowledge } = this.#options;
    acknowledge(from, { term, step, offset: Math.min(...this.#acknowledged.values()) });
  }

  #isOurs({ term, step }: StreamPosition): boolean {
    return term === this.#options.term && step === this.#options.step;
  }
}
