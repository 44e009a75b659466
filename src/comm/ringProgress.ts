/** Notices that a step makes no progress: that nothing has come for a time while something is due. Who is to blame is decided in ring.ts. */
import type { Clock } from '../base/clock.ts';

/** The time is over at this tick without progress. Ticks, not clocks: a process that was suspended sees one tick, not a timeout. */
const ticksMax = 4;

export interface RingProgressOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Whether something is due from another rank, so that a delay is not this rank's own. */
  readonly isDue: () => boolean;
  readonly onTimeout: () => void;
}

export class RingProgress {
  readonly #options: RingProgressOptions;
  #ticks = 0;
  #stopTimer: (() => void) | undefined;

  constructor(options: RingProgressOptions) {
    this.#options = options;
  }

  get isWatched(): boolean {
    return this.#stopTimer !== undefined;
  }

  watch(): void {
    const { clock, timeoutMs } = this.#options;
    this.#ticks = 0;
    this.#stopTimer = clock.every(timeoutMs / ticksMax, () => this.#tick());
  }

  /** Something has come. */
  made(): void {
    this.#ticks = 0;
  }

  stop(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
  }

  #tick(): void {
    const { isDue, onTimeout } = this.#options;
    if (!isDue()) this.#ticks = 0;
    else if (++this.#ticks >= ticksMax) onTimeout();
  }
}
