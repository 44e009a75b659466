/**
 * Decisions that follow from waiting: workers that are silent, late or do not return. Pure, a part of decide.ts. Broken rings
 * are in ringFaults.ts.
 */
import { after, everyone, fail, namesOf, nothing, seconds, withAbsence } from './decisionParts.ts';
import type { Decision, Effect } from './effects.ts';
import { isEvaluated } from './evaluating.ts';
import { lose, startAgain } from './losses.ts';
import { causeGraceMs, onRingFault, stuckRing, stuckTransfer } from './ringFaults.ts';
import type { Member, RunState } from './runState.ts';
import { onGatheringTick } from './terms.ts';

export function onTick(state: RunState, nowMs: number): Decision {
  const { plan, broken } = state;
  const silent = silentWorkers(state, nowMs);
  if (silent.length > 0) return onSilent(state, silent, nowMs);
  if (state.stage === 'gathering') return onGatheringTick(state, nowMs);
  // While the ring is broken nobody is late: the workers that noticed wait for the next ring.
  if (broken !== undefined) {
    return nowMs - broken.atMs > causeGraceMs ? onRingFault(state, broken, nowMs) : nothing(state);
  }
  const stuck = stuckRing(state, nowMs) ?? stuckTransfer(state, nowMs);
  if (stuck !== undefined) return onRingFault(state, stuck, nowMs);
  const absent = state.missing.filter(({ sinceMs }) => nowMs - sinceMs > plan.heartbeatTimeoutMs);
  if (absent.length > 0 && state.stage !== 'finishing') return onAbsent(state, namesOf(absent));
  if (nowMs - state.sinceMs > plan.stepTimeoutMs) return onLate(state, nowMs);
  return nothing(state);
}

/**
 * Workers that have been silent for too long. Those of a dead machine become silent one after the other, as their heartbeats were sent: the
 * first takes with it those that have been silent for half of the time, so that not every one costs a term. Two intervals at least: a healthy
 * worker is silent for a little more than one.
 */
function silentWorkers(state: RunState, nowMs: number): Member[] {
  const { heartbeatTimeoutMs, heartbeatIntervalMs, localWorkers } = state.plan;
  const isSilent = (member: Member, ms: number) => nowMs - member.lastSeenMs > ms;
  const all = everyone(state);
  const silent = all.filter((member) => isSilent(member, heartbeatTimeoutMs));
  if (silent.length === 0) return silent;
  // The end of a local process is known in another way.
  const remote = silent.filter(({ worker }) => !localWorkers.includes(worker));
  const hosts = new Set(remote.map(({ host }) => host));
  const fellowMs = Math.max(heartbeatTimeoutMs / 2, 2 * heartbeatIntervalMs);
  const isFellow = (member: Member) => hosts.has(member.host) && isSilent(member, fellowMs);
  return all.filter((member) => silent.includes(member) || isFellow(member));
}

function onSilent(state: RunState, silent: readonly Member[], nowMs: number): Decision {
  const { plan } = state;
  const losses = silent.map((member) => ({
    member,
    cause: `has been silent for ${seconds(nowMs - member.lastSeenMs)}`,
  }));
  const effects = losses.flatMap(({ member: { id, worker }, cause }): Effect[] => {
    const fenced: Effect = { kind: 'send', to: id, message: { type: 'fenced', reason: cause } };
    // A frozen local process is replaced; without restarts left, it may still recover by itself.
    const kill = plan.localWorkers.includes(worker) && state.restarts < plan.restartsMax;
    return kill ? [fenced, { kind: 'killWorker', worker }] : [fenced];
  });
  return after(effects, lose(state, losses, nowMs));
}

/**
 * Workers that do not return. Local ones are not children of this coordinator, or it would know of their exit. They are
 * started again.
 */
function onAbsent(state: RunState, absent: readonly string[]): Decision {
  let next: RunState = { ...state, missing: state.missing.filter(({ worker }) => !absent.includes(worker)) };
  const effects: Effect[] = [];
  for (const worker of state.plan.localWorkers.filter((name) => absent.includes(name))) {
    const started = startAgain(next, worker);
    next = started.state;
    effects.push(...started.effects);
  }
  return { state: next, effects, reason: `${absent.join(', ')} did not come back` };
}

/** The stage takes too long. The workers that hold up the others are lost; if all are late, the timeout is too short. */
function onLate(state: RunState, nowMs: number): Decision {
  const late = state.members.filter((member) => isLate(state, member));
  const cause = `has not finished within ${seconds(state.plan.stepTimeoutMs)} (comm.stepTimeoutMs)`;
  if (late.length === 0) return nothing({ ...state, sinceMs: nowMs });
  if (late.length === state.members.length) {
    const limit = seconds(state.plan.stepTimeoutMs);
    const message =
      state.stage === 'rollingOut'
        ? `no worker has finished its part of the rollouts within ${limit}: raise comm.stepTimeoutMs, or lower task.maxTokens`
        : `no worker has finished step ${state.step + 1} within ${limit}: raise comm.stepTimeoutMs`;
    return fail(state, message);
  }
  const fenced = late.map(({ id }): Effect => ({ kind: 'send', to: id, message: { type: 'fenced', reason: cause } }));
  // A worker whose computation hangs would report and be late again.
  const held = late.reduce((next, { worker }) => withAbsence(next, worker, nowMs).held, state);
  return after(
    fenced,
    lose(
      held,
      late.map((member) => ({ member, cause })),
      nowMs,
    ),
  );
}

function isLate(state: RunState, member: Member): boolean {
  switch (state.stage) {
    case 'forming':
      return member.ready?.term !== state.term;
    case 'evaluating':
      return !isEvaluated(state, member);
    case 'rollingOut':
      return member.lease !== undefined;
    case 'snapshotting':
      return member.phase === 'snapshot';
    case 'stepping':
      if (state.appliedStep < state.step) return member.applied?.step !== state.step;
      return !state.holding && member.phase !== 'all-reduce' && member.phase !== 'waiting for commit';
    default:
      return false;
  }
}
