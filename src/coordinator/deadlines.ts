/**
 * What is found out by waiting: workers that are silent, late or do not come back, and rings that do not work. Pure, a part of
 * decide.ts.
 */
import type { WorkerMessageOf } from '../comm/protocol.ts';
import { after, everyone, fail, nameOf, nothing, seconds, stale } from './decisionParts.ts';
import { onGatheringTick, reform } from './epochs.ts';
import { lose, startAgain } from './membership.ts';
import type { Decision, Effect, Member, RunState } from './runState.ts';

/** How long after a ring broke the cause may take to show. */
const causeGraceMs = 1_000;
/** Rings that may break at one step, with nobody lost, before the rank that is blamed must go. */
const ringFaultsMax = 2;

export function onTick(state: RunState, nowMs: number): Decision {
  const { plan, broken } = state;
  const silent = everyone(state).find(({ lastSeenMs }) => nowMs - lastSeenMs > plan.heartbeatTimeoutMs);
  if (silent !== undefined) return onSilent(state, silent, nowMs);
  if (state.stage === 'gathering') return onGatheringTick(state, nowMs);
  // Nobody is late in a step whose ring is broken: those who noticed wait for the next one.
  if (broken !== undefined) {
    return nowMs - broken.atMs > causeGraceMs ? onRingFault(state, broken, nowMs) : nothing(state);
  }
  const stuck = stuckRing(state, nowMs);
  if (stuck !== undefined) return onRingFault(state, stuck, nowMs);
  const absent = plan.localWorkers.filter((worker) => state.missing.includes(worker));
  if (absent.length > 0 && nowMs - state.missingSinceMs > plan.heartbeatTimeoutMs) return onAbsent(state, absent);
  if (nowMs - state.sinceMs > plan.stepTimeoutMs) return onLate(state, nowMs);
  return nothing(state);
}

function onSilent(state: RunState, silent: Member, nowMs: number): Decision {
  const { plan } = state;
  const cause = `has been silent for ${seconds(nowMs - silent.lastSeenMs)}`;
  const lost = lose(state, [silent], cause, nowMs);
  // A frozen process of ours makes room for another; without restarts left it may still come back by itself.
  const kill = plan.localWorkers.includes(silent.worker) && state.restarts < plan.restartsMax;
  const effects: Effect[] = [{ kind: 'send', to: silent.id, message: { type: 'fenced', reason: cause } }];
  if (kill) effects.push({ kind: 'killWorker', worker: silent.worker });
  return after(effects, lost);
}

/** Workers of this machine that are no children of this coordinator, so that nobody tells of their exit: they do not come back. */
function onAbsent(state: RunState, absent: readonly string[]): Decision {
  let next: RunState = { ...state, missing: state.missing.filter((name) => !absent.includes(name)) };
  const effects: Effect[] = [];
  for (const worker of absent) {
    const started = startAgain(next, worker);
    next = started.state;
    effects.push(...started.effects);
  }
  return { state: next, effects, reason: `${absent.join(', ')} did not come back` };
}

/**
 * A ring in which every rank is done or waits for frames, and none has received any for as long as a worker may be silent: a
 * connection that is cut without a word. The rank before the one that has come least far is blamed.
 */
function stuckRing({ stage, holding, members, step, plan }: RunState, nowMs: number): RunState['broken'] {
  if (stage !== 'stepping' || holding) return undefined;
  const waiting = members.filter(({ reduced }) => reduced?.step !== step + 1);
  const isStuck = ({ phase, ring, step: at }: Member) =>
    phase === 'all-reduce' && at === step + 1 && ring !== undefined && nowMs - ring.sinceMs > plan.heartbeatTimeoutMs;
  const [first] = [...waiting].sort((a, b) => (a.ring?.frames ?? 0) - (b.ring?.frames ?? 0) || a.rank - b.rank);
  if (first?.ring === undefined || !waiting.every(isStuck)) return undefined;
  const message = `${nameOf(first)} has waited ${seconds(nowMs - first.ring.sinceMs)} for a frame of the ring in step ${step + 1}, and nobody else has received one`;
  return { atMs: nowMs, message, suspect: (first.rank + members.length - 1) % members.length };
}

/** Nobody died, and yet the ring does not work: once more with the same members, in the end without the one that is blamed. */
function onRingFault(state: RunState, { message, suspect }: NonNullable<RunState['broken']>, nowMs: number): Decision {
  const culprit = state.members.find(({ rank }) => rank === suspect);
  const next = { ...state, broken: undefined, ringFaults: state.ringFaults + 1 };
  if (culprit !== undefined && next.ringFaults > ringFaultsMax && next.members.length > 1) {
    const reason = `the ring broke ${next.ringFaults} times in step ${state.step + 1}`;
    const fenced: Effect = { kind: 'send', to: culprit.id, message: { type: 'fenced', reason } };
    return after([fenced], lose(next, [culprit], `cannot be reached in the ring: ${message}`, nowMs));
  }
  const warning = { event: 'warning', reason: message, epoch: state.epoch, step: state.step } as const;
  return after([{ kind: 'event', event: warning, show: true }], reform(next, nowMs, message));
}

/** The stage takes too long. Those that the others wait for are lost; if it is everyone, the time is too short. */
function onLate(state: RunState, nowMs: number): Decision {
  const late = state.members.filter((member) => isLate(state, member));
  const cause = `has not finished within ${seconds(state.plan.stepTimeoutMs)} (comm.stepTimeoutMs)`;
  if (late.length === 0) return nothing({ ...state, sinceMs: nowMs });
  if (late.length === state.members.length) {
    return fail(
      state,
      `no worker has finished step ${state.step + 1} within ${seconds(state.plan.stepTimeoutMs)}: raise comm.stepTimeoutMs`,
    );
  }
  const fenced = late.map(({ id }): Effect => ({ kind: 'send', to: id, message: { type: 'fenced', reason: cause } }));
  return after(fenced, lose(state, late, cause, nowMs));
}

function isLate(state: RunState, member: Member): boolean {
  switch (state.stage) {
    case 'forming':
      return member.ready?.epoch !== state.epoch;
    case 'evaluating':
      return member.evaluated?.step !== state.step;
    case 'snapshotting':
      return member.phase === 'snapshot';
    case 'stepping':
      if (state.appliedStep < state.step) return member.applied?.step !== state.step;
      return !state.holding && member.phase !== 'all-reduce' && member.phase !== 'waiting for commit';
    default:
      return false;
  }
}

export function onRingBroken(
  state: RunState,
  member: Member,
  report: WorkerMessageOf<'ringBroken'>,
  nowMs: number,
): Decision {
  if (report.epoch !== state.epoch || state.stage === 'gathering') return stale(state, member, 'a broken ring');
  const message = `the ring of ${nameOf(member)} broke: ${report.message}`;
  const broken = state.broken ?? { atMs: nowMs, message, suspect: report.suspect };
  return nothing({ ...state, broken }, `${message}; looking for the cause`);
}
