/**
 * Gathers the losses of workers that become known within a moment into one event, so that they are decided together. Which connections and
 * processes are lost is reported from outside; what follows is decided by core/losses.ts.
 */
import type { LossEvent, RunEvent } from './core/runEvents.ts';
import type { Timers } from './timers.ts';

/** Losses that become known within this time are decided together: the workers of a dead machine cost one term. */
const lossesMs = 5;
/** The exit of a local process may become known this much later than the loss of its connection. */
const exitGraceMs = 300;

export interface WorkerLossesOptions {
  /** Names of the workers that this machine starts: their exits are reported, too. */
  readonly localWorkers: readonly string[];
  readonly timers: Timers;
  readonly onEvent: (event: RunEvent) => void;
}

export class WorkerLosses {
  readonly #localWorkers: ReadonlySet<string>;
  readonly #timers: Timers;
  readonly #onEvent: (event: RunEvent) => void;
  /** Not decided yet. */
  #losses: LossEvent[] = [];

  constructor({ localWorkers, timers, onEvent }: WorkerLossesOptions) {
    this.#localWorkers = new Set(localWorkers);
    this.#timers = timers;
    this.#onEvent = onEvent;
  }

  /** The exit of a local process is reported separately and says more, so it is waited for. */
  peerGone(id: string, reason: string): void {
    // coordinatorLink.ts names connections: WORKER.PID.NUMBER.
    const worker = id.split('.').slice(0, -2).join('.');
    const lost = () => this.add({ kind: 'peerGone', id, reason });
    if (this.#localWorkers.has(worker)) this.#timers.later(exitGraceMs, lost);
    else lost();
  }

  add(loss: LossEvent): void {
    this.#losses.push(loss);
    if (this.#losses.length > 1) return;
    this.#timers.later(lossesMs, () => {
      const losses = this.#losses;
      this.#losses = [];
      const [first] = losses;
      if (first !== undefined) this.#onEvent(losses.length === 1 ? first : { kind: 'losses', losses });
    });
  }
}
