/** Whether and when a worker process that has ended is started again: one policy for the workers of `launch` and of `launch join`. Pure. */

/** Default of `--max-restarts`. */
export const restartsMaxDefault = 10;

/** Pause before a restart: doubled each time up to the maximum. */
const pauseMs = 250;
const pauseMostMs = 30_000;

/** How a worker ended. */
export interface WorkerEnd {
  readonly clean: boolean;
  /** The origin of the failure that it reported, if it reported one. */
  readonly blame?: 'user' | 'peer' | 'run' | undefined;
}

/** Whether another start may help: not if the work was done, nor if the user must change something first. */
export function isWorthRestart({ clean, blame }: WorkerEnd): boolean {
  return !clean && blame !== 'user';
}

export interface Restart {
  readonly afterMs: number;
  /** `started again in 0.5 s (2 of 10 restarts)` */
  readonly announcement: string;
}

/** @param restarts number of restarts so far, of all workers @returns undefined if none is left */
export function nextRestart(restarts: number, restartsMax: number): Restart | undefined {
  if (restarts >= restartsMax) return undefined;
  const afterMs = Math.min(pauseMostMs, pauseMs * 2 ** Math.min(restarts, 16));
  const pause = `${(afterMs / 1_000).toFixed(1)} s`;
  return { afterMs, announcement: `started again in ${pause} (${restarts + 1} of ${restartsMax} restarts)` };
}
