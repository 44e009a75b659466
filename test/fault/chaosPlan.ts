/** What happens to the workers of a run under chaos, and when: drawn from a seed before the run starts. */
import { randomKey, randomUniform } from '../../src/base/counterRandom.ts';

interface Common {
  readonly atMs: number;
  /** In [0, 1): which of the present workers or commands. */
  readonly who: number;
}

export type Mishap = Common &
  /** SIGKILL, of one worker or of all at once. */
  (
    | { readonly kind: 'kill' | 'killAll' }
    /** SIGSTOP, and SIGCONT after this time. */
    | { readonly kind: 'freeze'; readonly forMs: number }
    /** SIGTERM to a worker, or Ctrl-C on a `launch join`. */
    | { readonly kind: 'leave' | 'interrupt' }
    /** Another `launch join`. */
    | { readonly kind: 'join'; readonly workers: number }
  );

const kinds: readonly Mishap['kind'][] = [
  ...(['kill', 'kill', 'kill', 'kill', 'kill', 'kill', 'freeze', 'freeze', 'freeze', 'freeze', 'freeze'] as const),
  ...(['join', 'join', 'join', 'join', 'join', 'leave', 'leave', 'leave', 'interrupt', 'interrupt'] as const),
];
/** Rare: nobody is left then who remembers the last steps. */
const killAllShare = 0.015;

/** @param deadlineMs of silence, after which a worker is lost: freezes are shorter and longer than it */
export function drawMishaps(seed: number, seconds: number, deadlineMs: number): Mishap[] {
  const key = randomKey(seed);
  let index = 0;
  const between = (from: number, to: number) => from + (to - from) * randomUniform(key, index++);
  const chance = (share: number) => between(0, 1) < share;
  const mishaps: Mishap[] = [];
  for (let atMs = between(0, 500); atMs < 1_000 * seconds; ) {
    const common = { atMs: Math.round(atMs), who: between(0, 1) };
    const kind = chance(killAllShare) ? 'killAll' : kinds[Math.floor(between(0, kinds.length))]!;
    const forMs = chance(0.5) ? between(10, 0.8 * deadlineMs) : between(1.2 * deadlineMs, 3 * deadlineMs);
    const workers = chance(0.3) ? 2 : 1;
    if (kind === 'freeze') mishaps.push({ ...common, kind, forMs: Math.round(forMs) });
    else if (kind === 'join') mishaps.push({ ...common, kind, workers });
    else mishaps.push({ ...common, kind });
    // Often enough for one to meet the recovery from another.
    atMs += chance(0.25) ? between(0, 50) : between(100, 1_500);
  }
  return mishaps;
}
