/** What goes wrong in a run, and when: drawn before it starts. */
import type { Random } from './world.ts';

interface Common {
  readonly atMs: number;
  /** In [0, 1): which of the present ones. */
  readonly who: number;
}

export type Fault = Common &
  (
    | { readonly kind: 'crash' | 'crashAll' | 'cut' | 'leave' | 'comer' }
    /** The user ends the run in order, and resumes it later. */
    | { readonly kind: 'stop' }
    | { readonly kind: 'freeze' | 'coordinatorFreeze' | 'agentFreeze'; readonly forMs: number }
    /** The agent of a host ends; its workers do not. */
    | { readonly kind: 'agentCrash' }
    /** The agent and all workers of a host end. */
    | { readonly kind: 'hostCrash' }
    | { readonly kind: 'slow'; readonly factor: number; readonly forMs: number }
    | { readonly kind: 'partition'; readonly forMs: number; readonly isReset: boolean }
    /** The command is killed, or its machine loses power; it is started again after a time. */
    | { readonly kind: 'coordinatorCrash' | 'powerCut'; readonly forMs: number }
  );

/** Often enough for each other to meet. */
const kinds: readonly Fault['kind'][] = [
  ...(['crash', 'crash', 'freeze', 'freeze', 'slow', 'cut', 'cut', 'partition', 'partition'] as const),
  ...([
    'comer',
    'leave',
    'stop',
    'coordinatorCrash',
    'coordinatorCrash',
    'coordinatorFreeze',
    'powerCut',
    'crashAll',
  ] as const),
];

/** Those of a run whose hosts have agents, beside the others. */
const agentKinds: readonly Fault['kind'][] = ['agentCrash', 'agentCrash', 'agentFreeze', 'agentFreeze', 'hostCrash'];

/** @param allowed absent: all that the run can have */
export function drawFaults(random: Random, allowed: readonly Fault['kind'][] | undefined, hasAgents: boolean): Fault[] {
  const all = hasAgents ? [...kinds, ...agentKinds] : kinds;
  const possible = all.filter((kind) => allowed?.includes(kind) ?? true);
  const count = possible.length === 0 ? 0 : random.whole(0, 7);
  let atMs = random.between(0, 400);
  return Array.from({ length: count }, () => {
    atMs += random.chance(0.3) ? random.between(0, 20) : random.between(20, 500);
    if (random.chance(0.15)) atMs += random.between(500, 4_000);
    return draw(random.pick(possible), atMs, random);
  });
}

function draw(kind: Fault['kind'], atMs: number, random: Random): Fault {
  const common = { atMs, who: random.uniform() };
  const forMs = random.chance(0.5) ? random.between(10, 800) : random.between(800, 6_000);
  switch (kind) {
    case 'slow':
      return { ...common, kind, factor: random.between(2, 30), forMs };
    case 'partition':
      return { ...common, kind, forMs, isReset: random.chance(0.5) };
    case 'freeze':
    case 'coordinatorFreeze':
    case 'agentFreeze':
    case 'coordinatorCrash':
    case 'powerCut':
      return { ...common, kind, forMs };
    default:
      return { ...common, kind };
  }
}
