/**
 * Workers that join, are lost or leave, and how the run responds. Pure, a part of decide.ts.
 */
import { isUpdatedByMuon } from '../../base/stateParts.ts';
import type { WorkerPhase } from '../../comm/messageFields.ts';
import { protocolVersion } from '../../comm/protocol.ts';
import type { WorkerFailure, WorkerMessageOf } from '../../comm/workerMessages.ts';
import {
  after,
  everyone,
  factsOf,
  fail,
  hasState,
  isSaved,
  lacksCommit,
  nameOf,
  nothing,
  refuse,
  required,
  seconds,
  stale,
  withMember,
  withoutSource,
} from './decisionParts.ts';
import { engineText, mixRefusal } from './engineMix.ts';
import type { Decision, Effect, Member, RunEvent, RunLength, RunPlan, RunState } from './runState.ts';
import { unlikeDeclared, unlikeOrder } from './stateMatch.ts';
import { atBoundary, whenApplied } from './stepping.ts';
import { openTerm, reform, tryToOpen } from './terms.ts';

/** The phases of a worker before it is admitted to the ring. */
const newcomerPhases: readonly WorkerPhase[] = ['starting', 'building', 'waiting for work'];
/** Pause before a worker restarts: doubled each time up to the maximum. */
const restartPauseMs = 250;
const restartPauseMostMs = 30_000;

export function onJoin(state: RunState, from: string, join: WorkerMessageOf<'join'>, nowMs: number): Decision {
  const { worker, host, pid, ringAddress, state: holds } = join;
  if (join.protocolVersion !== protocolVersion) {
    return refuse(
      state,
      from,
      `the coordinator speaks protocol version ${protocolVersion}, this worker ${join.protocolVersion} (lockstep ${join.version}): install the same lockstep on both machines`,
    );
  }
  if (join.runId !== undefined && join.runId !== state.plan.runId) {
    return refuse(state, from, 'the run that this worker belonged to has ended: start it again');
  }
  if (everyone(state).some(({ id }) => id === from)) return nothing(state, `ignored a second join of ${from}`);
  const former = everyone(state).find((other) => other.worker === worker);
  if (former !== undefined) {
    const isSame = former.pid === pid && former.host === host;
    // It was presumed dead and replaced; the run's progress since then must not be lost for it.
    if (!isSame && hasState(state, former) && !hasState(state, { holds })) {
      return refuse(
        state,
        from,
        `pid ${former.pid} on ${former.host} has taken its place as ${worker}, and holds the state`,
      );
    }
    const cause = isSame ? 'came back through another connection' : `gave way to pid ${pid} on ${host}`;
    const { state: without, effects } = lose(state, [former], cause, nowMs);
    // If it were only fenced, it would return, and the two would replace each other forever.
    const stop: Effect = {
      kind: 'send',
      to: former.id,
      message: { type: 'stop', reason: `it ${cause}`, failed: false },
    };
    return after(isSame ? effects : [stop, ...effects], onJoin(without, from, join, nowMs));
  }
  if (everyone(state).length >= state.plan.globalBatchSize) {
    return refuse(
      state,
      from,
      `the run has ${everyone(state).length} workers already, one per sequence of a step: raise train.globalBatchSize`,
    );
  }
  const member: Member = {
    id: from,
    worker,
    host,
    pid,
    ringAddress,
    rank: -1,
    lastSeenMs: nowMs,
    holds,
    phase: 'starting',
    step: state.step,
    leaving: false,
    speed: 0,
  };
  const isNot = (name: string) => name !== worker;
  const joined = {
    ...proven(state, holds),
    joiners: [...state.joiners, member],
    starting: state.starting.filter(isNot),
    missing: state.missing.filter((other) => other.worker !== worker),
  };
  const reason = `${nameOf(member)} joined`;
  const event = { event: 'join', reason, ...factsOf(joined, member) } as const;
  const effects: Effect[] = [
    { kind: 'welcome', to: from },
    { kind: 'event', event, show: state.term > 0 && !state.plan.localWorkers.includes(worker) },
  ];
  return { state: joined, effects, reason };
}

/**
 * After a power failure the journal may lack the last commits. A returning worker with a later step of the same term proves that
 * the step was committed.
 */
function proven(state: RunState, holds: Member['holds']): RunState {
  const isProof =
    state.stage === 'gathering' && holds !== undefined && holds.term === state.term && holds.step > state.step;
  if (!isProof || state.term === 0) return state;
  const { step, term: committedTerm } = holds;
  // A worker that has only reduced that step lacks a norm that nothing records; it receives the state instead.
  const committed = { ...state.committed, gradNorm: undefined, learningRate: undefined };
  const plan = { ...state.plan, ...lengthFrom(state.plan, step) };
  return { ...state, plan, step, committedTerm, committed, appliedStep: step, evaluatedStep: step };
}

/** The length of a run that counts epochs and continues after `step`, which the journal lacks. */
function lengthFrom({ counted, globalBatchSize, schedule }: RunPlan, step: number): RunLength | undefined {
  if (counted === undefined) return undefined;
  const { samples, formerBatchSize, sampleLimit, decaySteps } = counted;
  const left = Math.max(0, sampleLimit - samples - (step - counted.step) * formerBatchSize);
  const maxSteps = step + Math.ceil(left / globalBatchSize);
  return { maxSteps, schedule: { ...schedule, decaySteps: decaySteps || maxSteps } };
}

export function onPrepared(
  state: RunState,
  member: Member,
  message: WorkerMessageOf<'prepared'>,
  nowMs: number,
): Decision {
  const { engine, engineId, tensors, limit, referenceHash } = message;
  if (member.rank >= 0) return stale(state, member, 'prepared');
  const now: Member = {
    ...member,
    phase: 'waiting for work',
    prepared: {
      engine,
      engineId,
      tensors,
      ...(limit && { limit }),
      ...(referenceHash !== undefined && { referenceHash }),
    },
  };
  const problem = unlikeDeclared(tensors, state.plan.tensors);
  if (problem !== undefined) return turnAway(state, now, `${problem}: ${sameVersion}`, nowMs);
  const isUnlike = (other: Member) => other.id !== member.id && misfit(now, other) !== undefined;
  const unlike = everyone(state).find((other) => other.prepared !== undefined && isUnlike(other));
  if (unlike !== undefined) {
    // Before the run begins, local workers stay, whatever their order.
    const isGuest = ({ rank, worker }: Member) => rank < 0 && !state.plan.localWorkers.includes(worker);
    if (isGuest(now) || !isGuest(unlike)) return turnAway(state, now, required(misfit(now, unlike)), nowMs);
    const { state: without, effects } = turnAway(state, unlike, required(misfit(unlike, now)), nowMs);
    return after(effects, onPrepared(without, member, message, nowMs));
  }
  const next = withMember(state, now);
  const reason = `${nameOf(member)} is prepared`;
  if (next.stage === 'gathering') return tryToOpen(next, nowMs, reason);
  // At a boundary already; otherwise the next commit makes the members hold.
  return atBoundary(next, nowMs, reason);
}

const sameVersion = 'start it with the version of lockstep that the run uses';

/**
 * Why a prepared worker cannot share a ring with another, and the remedy: its state would have a different order, or its updates
 * would have different bits. Undefined if it can.
 */
function misfit(member: Member, other: Member): string | undefined {
  const [its, others] = [required(member.prepared), required(other.prepared)];
  const order = unlikeOrder(its.tensors, others.tensors);
  if (order !== undefined) return `${order}: ${sameVersion}`;
  if (its.referenceHash !== others.referenceHash) {
    return `it compares the policy with another model than ${nameOf(other)}: ${sameVersion}`;
  }
  const refusal = mixRefusal(its.engineId, others.engineId, {
    muon: its.tensors.some(isUpdatedByMuon),
    apart: member.host !== other.host,
  });
  if (refusal === undefined) return undefined;
  const [own, theirs] = [engineText(its.engineId), engineText(others.engineId)];
  return `it computes on ${own}, ${nameOf(other)} on ${theirs}, and ${refusal.reason}: ${refusal.remedy}`;
}

/** A part of the rollouts that was refused goes to another worker. */
export function onUnfit(
  state: RunState,
  { from, problem, lease }: Extract<RunEvent, { kind: 'unfit' }>,
  nowMs: number,
): Decision {
  const member = everyone(state).find(({ id }) => id === from);
  if (member === undefined) return nothing(state, `${from}, which is not a member: ${problem}`);
  const isStale =
    lease !== undefined &&
    (lease.term !== state.term ||
      lease.step !== state.step ||
      lease.iteration !== state.rollout?.iteration ||
      lease.part !== member.lease);
  return isStale ? stale(state, member, problem) : turnAway(state, member, problem, nowMs);
}

function turnAway(state: RunState, member: Member, reason: string, nowMs: number): Decision {
  const refusal: Effect = { kind: 'send', to: member.id, message: { type: 'refused', reason } };
  return after([refusal], lose(state, [member], `cannot take part: ${reason}`, nowMs, { dead: true }));
}

export function onLeave(state: RunState, member: Member, nowMs: number): Decision {
  const reason = `${nameOf(member)} wants to leave`;
  const next = withMember(state, { ...member, leaving: true });
  if (next.stage === 'gathering' && isOnlyHolder(next, member)) {
    const purpose = `the state of step ${next.step} is saved`;
    return openTerm(next, [{ ...member, leaving: true }], nowMs, reason, purpose);
  }
  if (next.stage === 'gathering' || member.rank < 0) {
    const event = {
      event: 'leave',
      reason: `${nameOf(member)} leaves as requested`,
      ...factsOf(state, member),
    } as const;
    const joiners = next.joiners.filter(({ id }) => id !== member.id);
    const { state: without, effects: abandon } = withoutSource({ ...next, joiners }, new Set([member.id]));
    const effects: Effect[] = [
      { kind: 'send', to: member.id, message: { type: 'stop', reason: 'it left the run', failed: false } },
      { kind: 'event', event, show: true },
      ...abandon,
    ];
    return after(effects, next.stage === 'gathering' ? tryToOpen(without, nowMs, reason) : nothing(without, reason));
  }
  return atBoundary(next, nowMs, reason);
}

/** Whether its loss would lose a state that no checkpoint has. */
function isOnlyHolder(state: RunState, member: Member): boolean {
  const holders = state.joiners.filter((other) => hasState(state, other) || lacksCommit(state, other));
  return !isSaved(state) && member.prepared !== undefined && holders.length === 1 && holders[0]?.id === member.id;
}

/** @param dead it cannot return, because its process has ended */
export function lose(
  state: RunState,
  lost: readonly Member[],
  cause: string,
  nowMs: number,
  { dead = false } = {},
): Decision {
  const ids = new Set(lost.map(({ id }) => id));
  const stays = ({ id }: Member) => !ids.has(id);
  const names = lost.map(({ worker }) => worker);
  const { state: known, effects: abandon } = withoutSource(state, ids);
  const isSource = abandon.length > 0;
  const inRing = lost.filter(({ rank }) => rank >= 0);
  const [first] = lost;
  const message = first === undefined ? cause : `${nameOf(first)} ${cause}${whereOf(first)}`;
  const without: RunState = {
    ...known,
    members: state.members.filter(stays),
    joiners: state.joiners.filter(stays),
    missing: [
      ...state.missing.filter(({ worker }) => !names.includes(worker)),
      ...(dead ? [] : names.map((worker) => ({ worker, sinceMs: nowMs }))),
    ],
    lastLoss: message,
  };
  const next = afterLoss(without, inRing.length > 0, nowMs, message, isSource);
  const action = next.action ?? next.reason;
  const events = lost.map((member): Effect => {
    const reason = `${nameOf(member)} ${cause}${whereOf(member)}`;
    const event = { event: 'lost', reason, cause, action, ...factsOf(state, member) } as const;
    return { kind: 'event', event, show: member.rank >= 0 || state.term > 0 };
  });
  return after([...events, ...abandon], { ...next, effects: next.effects.map(alreadyTold) });
}

/** The description of the loss has named the resulting membership. */
function alreadyTold(effect: Effect): Effect {
  if (effect.kind !== 'event' || effect.event.event !== 'term') return effect;
  return { ...effect, event: { ...effect.event, isTold: true } };
}

function whereOf({ phase, step, rank }: Member): string {
  return rank < 0 ? '' : ` in step ${step} during ${phase}`;
}

function afterLoss(state: RunState, wasInRing: boolean, nowMs: number, why: string, wasSource: boolean): Decision {
  // It may have been the last member that had not applied the committed step.
  const reported = whenApplied(state, nowMs);
  const next = reported.state;
  if (next.stage === 'gathering') return after(reported.effects, tryToOpen(next, nowMs, why));
  if (!wasInRing) return after(reported.effects, nothing(next, 'the others continue'));
  // The ring has no more work.
  if (next.stage === 'finishing' && !wasSource) return after(reported.effects, nothing(next, 'its work was done'));
  return after(reported.effects, reform(next, nowMs, why));
}

/** A local process has ended, and with it its member, if any. A replacement is started if that may help. */
export function onWorkerExited(
  state: RunState,
  exit: Extract<RunEvent, { kind: 'workerExited' }>,
  nowMs: number,
): Decision {
  const { worker, description, failure, clean } = exit;
  const member = everyone(state).find((other) => other.worker === worker && other.pid === exit.pid);
  if (failure !== undefined && isHopeless(state, member, failure)) {
    const message = member === undefined ? `worker ${worker} ${description}` : failedMessage(member, failure);
    return fail(state, message, failure.blame === 'user' ? 'user' : 'run');
  }
  const isNot = (name: string) => name !== worker;
  const gone = {
    ...state,
    starting: state.starting.filter(isNot),
    missing: state.missing.filter((other) => other.worker !== worker),
  };
  // At the end, a replacement has work only if this worker was sending the last checkpoint.
  const isNeeded = state.stage !== 'finishing' || state.checkpointInFlight?.from === member?.id;
  const again =
    !clean &&
    failure?.blame !== 'user' &&
    isNeeded &&
    !everyone(state).some((other) => other.worker === worker && other !== member);
  const { state: next, effects } = again ? startAgain(gone, worker) : { state: gone, effects: [] };
  if (member !== undefined) return after(effects, lose(next, [member], description, nowMs, { dead: true }));
  if (clean) return nothing(next, `worker ${worker} ${description}`);
  const lost = { ...next, lastLoss: next.lastLoss ?? `worker ${worker} ${description} before it joined` };
  const reason = `worker ${worker} ${description}`;
  return after(effects, lost.stage === 'gathering' ? tryToOpen(lost, nowMs, reason) : nothing(lost, reason));
}

/**
 * Failures that would hit every other worker as well, or this one again. If a newcomer fails, or is refused for lack of room, the
 * running workers continue.
 */
function isHopeless(state: RunState, member: Member | undefined, { blame, phase }: WorkerFailure): boolean {
  if (state.term === 0) return blame !== 'peer';
  const wasAtWork = member === undefined ? !newcomerPhases.includes(phase) : member.rank >= 0;
  return blame === 'user' && wasAtWork;
}

/** Starts a local worker again after a pause, if restarts are left. */
export function startAgain(state: RunState, worker: string): { state: RunState; effects: Effect[] } {
  const { plan, restarts } = state;
  if (restarts >= plan.restartsMax) return { state, effects: [] };
  const afterMs = Math.min(restartPauseMostMs, restartPauseMs * 2 ** Math.min(restarts, 16));
  const reason = `worker ${worker} is started again in ${seconds(afterMs)} (${restarts + 1} of ${plan.restartsMax} restarts)`;
  const event = { event: 'restart', reason, worker, term: state.term, step: state.step } as const;
  return {
    state: { ...state, restarts: restarts + 1, starting: [...state.starting, worker] },
    effects: [
      { kind: 'event', event, show: true },
      { kind: 'startWorker', worker, afterMs },
    ],
  };
}

function failedMessage(member: Member, { step, phase, message }: WorkerFailure): string {
  return `${nameOf(member)} failed in step ${step} during ${phase}: ${message}`;
}

/** A member reports that it cannot continue. Its process ends and is then replaced. */
export function onFailed(state: RunState, member: Member, failed: WorkerFailure, nowMs: number): Decision {
  if (isHopeless(state, member, failed))
    return fail(state, failedMessage(member, failed), failed.blame === 'user' ? 'user' : 'run');
  return lose(state, [{ ...member, phase: failed.phase, step: failed.step }], `failed: ${failed.message}`, nowMs);
}

export function onPeerGone(
  state: RunState,
  { id, reason }: Extract<RunEvent, { kind: 'peerGone' }>,
  nowMs: number,
): Decision {
  const member = everyone(state).find((other) => other.id === id);
  if (member === undefined) return nothing(state, `${id}, which is not a member, is gone`);
  return lose(state, [member], `is gone (${reason})`, nowMs);
}
