/** Time for code that also runs in a simulator: only the rim uses `Date`, `performance` and timers directly. */

export interface Clock {
  /** Milliseconds since 1970; jumps when the clock is set. For times that people read. */
  now(): number;
  /** Milliseconds since an arbitrary moment; never decreases. For all durations and timeouts. */
  monotonic(): number;
  /** Runs once, `ms` from now. @returns a function that cancels it; cancelling twice, or too late, does nothing */
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
