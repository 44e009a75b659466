/** Time as code that must also run in a simulator sees it: only the rim reads `Date`, `performance` and timers itself. */

export interface Clock {
  /** Milliseconds since 1970; jumps when somebody sets the clock. For what people read. */
  now(): number;
  /** Milliseconds since some moment; never goes back. For every duration and timeout. */
  monotonic(): number;
  /** Runs once, `ms` from now. @returns what cancels it; cancelling twice, or too late, does nothing */
  after(ms: number, run: () => void): () => void;
  /** Runs every `ms` until cancelled, first `ms` from now. */
  every(ms: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  every(ms, run) {
    const timer = setInterval(run, ms);
    return () => clearInterval(timer);
  },
};
