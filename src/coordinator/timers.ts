/** What a coordinator does later, and no more when it has been closed. */
import type { Clock } from '../base/clock.ts';

export class Timers {
  readonly #clock: Clock;
  readonly #cancels = new Set<() => void>();
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Runs once, `ms` from now. */
  later(ms: number, run: () => void): void {
    if (this.#isClosed) return;
    const cancel = this.#clock.after(ms, () => {
      this.#cancels.delete(cancel);
      run();
    });
    this.#cancels.add(cancel);
  }

  close(): void {
    this.#isClosed = true;
    for (const cancel of this.#cancels) cancel();
  }
}
