/**
 * Workers that join or leave, and how the run responds. Pure, a part of decide.ts.
 */
import { isUpdatedByMuon } from '../../base/stateParts.ts';
import { protocolVersion } from '../../comm/protocol.ts';
import type { WorkerMessageOf } from '../../comm/workerMessages.ts';
import { evaluatedThrough } from './bestEvaluation.ts';
import {
  after,
  everyone,
  factsOf,
  hasState,
  isSaved,
  lacksCommit,
  nameOf,
  nothing,
  refuse,
  required,
  stale,
  withMember,
  withoutSource,
  workerOf,
} from './decisionParts.ts';
import type { Decision, Effect } from './effects.ts';
import { engineText, mixRefusal } from './engineMix.ts';
import { lose } from './losses.ts';
import type { RunEvent } from './runEvents.ts';
import type { RunLength, RunPlan } from './runPlan.ts';
import type { Member, RunState } from './runState.ts';
import { isSameTable, unlikeDeclared, unlikeOrder } from './stateMatch.ts';
import { atBoundary } from './stepping.ts';
import { afterLeave, openTerm, tryToOpen } from './terms.ts';

export function onJoin(state: RunState, from: string, join: WorkerMessageOf<'join'>, nowMs: number): Decision {
  const { worker, host, pid, ringAddress, node, state: holds } = join;
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
  if (workerOf(state, from) !== undefined) return nothing(state, `ignored a second join of ${from}`);
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
    const { state: without, effects } = lose(state, [{ member: former, cause }], nowMs);
    // If it were only fenced, it would return, and the two would replace each other forever.
    const stop: Effect = {
      kind: 'send',
      to: former.id,
      message: { type: 'stop', reason: `it ${cause}`, failed: false },
    };
    return after(isSame ? effects : [stop, ...effects], onJoin(without, from, join, nowMs));
  }
  const double = node && everyone(state).find((other) => other.node?.rank === node.rank);
  if (double?.node !== undefined && double.node.start !== node?.start) {
    return refuse(
      state,
      from,
      `node ${double.node.rank} of the job is in the run already, as pid ${double.pid} on ${double.host}: start each node once, with a rank of its own`,
    );
  }
  const present = state.members.length + state.joiners.length;
  if (present >= state.plan.globalBatchSize) {
    return refuse(
      state,
      from,
      `the run has ${present} workers already, one per sequence of a step: raise train.globalBatchSize`,
    );
  }
  const member: Member = {
    id: from,
    worker,
    host,
    pid,
    ringAddress,
    ...(node !== undefined && { node }),
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
  const evaluatedStep = evaluatedThrough(plan, step, state.evaluations);
  return { ...state, plan, step, committedTerm, committed, appliedStep: step, evaluatedStep };
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
  const others = everyone(state).filter((other) => other.id !== member.id && other.prepared !== undefined);
  const same = others[0]?.prepared?.tensors;
  const now: Member = {
    ...member,
    phase: 'waiting for work',
    prepared: {
      engine,
      engineId,
      // Comparing many workers costs little if equal tables are the same one.
      tensors: same !== undefined && isSameTable(tensors, same) ? same : tensors,
      ...(limit && { limit }),
      ...(referenceHash !== undefined && { referenceHash }),
    },
  };
  const problem = unlikeDeclared(tensors, state.plan.tensors);
  if (problem !== undefined) return turnAway(state, now, `${problem}: ${sameVersion}`, nowMs);
  const unlike = others.find((other) => misfit(now, other) !== undefined);
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
  const member = workerOf(state, from);
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
  return after([refusal], lose(state, [{ member, cause: `cannot take part: ${reason}`, isDead: true }], nowMs));
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
    if (next.stage !== 'gathering') return after(effects, nothing(without, reason));
    return afterLeave(effects, tryToOpen(without, nowMs, reason));
  }
  return atBoundary(next, nowMs, reason);
}

/** Whether its loss would lose a state that no checkpoint has. */
function isOnlyHolder(state: RunState, member: Member): boolean {
  const holders = state.joiners.filter((other) => hasState(state, other) || lacksCommit(state, other));
  return !isSaved(state) && member.prepared !== undefined && holders.length === 1 && holders[0]?.id === member.id;
}
