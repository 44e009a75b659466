/**
 * Forwards the state that one member streams to the workers that need it. The member continues when the slowest of them has received
 * everything sent, so the coordinator holds only the chunks in flight.
 */
import type { StreamPosition } from './checkpointer.ts';

export interface StateRelayOptions {
  readonly from: string;
  readonly to: readonly string[];
  readonly term: number;
  readonly step: number;
  /** Sends a chunk to one of `to`. */
  readonly forward: (to: string, at: StreamPosition, chunk: Uint8Array) => void;
  /** Tells `from` that every receiver has everything before this position. */
  readonly acknowledge: (from: string, at: StreamPosition) => void;
}

export class StateRelay {
  readonly #options: StateRelayOptions;
  readonly #acknowledged: Map<string, number>;

  constructor(options: StateRelayOptions) {
    this.#options = options;
    this.#acknowledged = new Map(options.to.map((id) => [id, 0]));
  }

  /** No effect unless it belongs to this stream. */
  chunk(from: string, at: StreamPosition, payload: Uint8Array | undefined): void {
    if (from !== this.#options.from || !this.#isOurs(at) || payload === undefined) return;
    for (const to of this.#options.to) this.#options.forward(to, at, payload);
  }

  /** No effect unless it belongs to this stream. */
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
