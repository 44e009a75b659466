/**
 * The sequence of steps: ready, and the work at the boundary between two steps (evaluation, checkpoint, the end, changes of membership).
 * What members report within a step is in reports.ts. Pure, a part of decide.ts.
 */
import type { WorkerMessageOf } from '../../comm/workerMessages.ts';
import { sharesOf } from './batchSplit.ts';
import { bestOf, describeTurn, evaluationsSinceBest, turnedAfter } from './bestEvaluation.ts';
import {
  after,
  allTraining,
  awaiting,
  engineDifference,
  fail,
  finish,
  hasState,
  idle,
  isAbsent,
  isDue,
  nameOf,
  nothing,
  required,
  stale,
  sumsOf,
  wait,
  withMember,
} from './decisionParts.ts';
import { endingDiverged, notFiniteEvaluation } from './divergence.ts';
import type { Decision, Effect, RankReport } from './effects.ts';
import {
  evaluatePart,
  isCutShort,
  isEvaluated,
  isNextPart,
  putsOffEvaluation,
  withoutEvaluation,
  withPart,
} from './evaluating.ts';
import { needsRollouts, partsDone, samplesThrough } from './iterations.ts';
import { onRolledOut as onPartRolledOut, rollOut } from './rollingOut.ts';
import type { Member, RunState } from './runState.ts';
import { afterLeave, letGo, openTerm, reform, tryToOpen } from './terms.ts';

export function onReady(state: RunState, member: Member, ready: WorkerMessageOf<'ready'>, nowMs: number): Decision {
  // The ring broke while it formed; a worker that received the state by then still has it.
  if (state.stage === 'gathering' && ready.term === state.term && ready.step === state.step) {
    const received = withMember(state, { ...member, holds: { step: state.step, term: state.committedTerm } });
    return tryToOpen(received, nowMs, `${nameOf(member)} has the state of step ${state.step}`);
  }
  if (state.stage !== 'forming' || ready.term !== state.term) return stale(state, member, 'ready');
  if (ready.step !== state.step) {
    return fail(state, `${nameOf(member)} is ready at step ${ready.step}, expected ${state.step}`);
  }
  const holds = { step: state.step, term: state.committedTerm };
  const stateHash = ready.stateHash;
  const next = withMember(state, { ...member, ...idle, holds, ready: { term: state.term, stateHash } });
  const isReady = (other: Member) => other.ready?.term === state.term;
  const first = next.members.find((other) => isReady(other) && other.ready?.stateHash !== undefined);
  if (stateHash !== undefined && first?.ready?.stateHash !== stateHash) {
    return fail(
      next,
      `${nameOf(member)} and ${first === undefined ? 'nobody' : nameOf(first)} start from different parameters: ` +
        `${stateHash.slice(0, 12)} and ${first?.ready?.stateHash?.slice(0, 12)}${engineDifference(member, first)}`,
    );
  }
  const waiting = awaiting(next, (other) => !isReady(other));
  if (waiting !== undefined) return nothing(waiting, `${nameOf(member)} is ready`);
  const started: Effect = { kind: 'started', members: [...next.members] };
  const stepping: RunState = { ...next, stage: 'stepping', sinceMs: nowMs, appliedStep: state.step };
  // Its committer is gone, but the state was handed on.
  const unreported: Effect[] = state.appliedStep === state.step ? [] : [stepDone(state, [])];
  return after([...unreported, started], atBoundary(stepping, nowMs, 'every member is ready'));
}

/** Assigns the samples of the next two steps, unless already assigned. */
export function assignAhead(state: RunState): { state: RunState; effects: Effect[] } {
  const through = Math.min(state.step + 2, state.plan.maxSteps, samplesThrough(state));
  const effects: Effect[] = [];
  for (let step = state.assignedStep + 1; step <= through; step++) {
    const shares = sharesOf(state.plan.globalBatchSize, state.members, state.plan.batchSplit);
    for (const [rank, { from, count }] of shares.entries()) {
      const to = state.members.at(rank)?.id ?? '';
      effects.push({ kind: 'assign', to, term: state.term, step, sampleFrom: from, sampleCount: count });
    }
  }
  return { state: { ...state, assignedStep: Math.max(through, state.assignedStep) }, effects };
}

/** Whether there is work between this step and the next. */
export function isBoundaryNeeded(state: RunState, step: number, nowMs: number): boolean {
  const { plan, members, joiners } = state;
  return (
    state.stopRequested ||
    state.checkpointOwed ||
    step === samplesThrough(state) ||
    isDue(step, plan.evalEverySteps) ||
    isDue(step, plan.checkpointEverySteps) ||
    members.some(({ leaving }) => leaving) ||
    joiners.some((joiner) => joiner.leaving || mayComeIn(state, joiner, nowMs))
  );
}

function mayComeIn(state: RunState, { prepared, worker }: Member, nowMs: number): boolean {
  return prepared !== undefined && !isAbsent(state, worker, nowMs);
}

/** Every existing replica has applied the committed step. */
export function stepDone(state: RunState, ranks: readonly RankReport[]): Effect {
  const { step, committedTerm: term } = state;
  const { sums } = state.committed;
  const gradNorm = required(state.committed.gradNorm);
  const learningRate = required(state.committed.learningRate);
  return { kind: 'stepDone', step, term, learningRate, sums, gradNorm, ranks };
}

/** The sequel of a step that is applied everywhere: evaluation, a checkpoint, then the end, a new membership or the next step. */
export function atBoundary(state: RunState, nowMs: number, why: string): Decision {
  const { plan, step } = state;
  if (state.stage === 'finishing') {
    return state.checkpointInFlight === undefined ? finish(state, [], why) : nothing(state, why);
  }
  if (state.stage !== 'stepping' || !state.holding || state.appliedStep !== step) return nothing(state, why);

  const last = step >= plan.maxSteps || state.stopRequested;
  const isUnevaluated =
    state.evaluatedStep < step && plan.evalEverySteps > 0 && (isDue(step, plan.evalEverySteps) || last);
  if (isUnevaluated && !putsOffEvaluation(state)) {
    const effects = state.members.map((member) => evaluatePart(state, member, 0));
    return { state: { ...state, stage: 'evaluating', sinceMs: nowMs }, effects, reason: `${why}; evaluation is due` };
  }
  // The last member would take the state with it.
  const isLastLeave = state.members.every(({ leaving }) => leaving);
  const isBest = plan.checkpointBest && bestOf(state.evaluations)?.step === step;
  const isOwed = state.checkpointOwed || isDue(step, plan.checkpointEverySteps) || isBest || last || isLastLeave;
  const source = state.members.find((member) => hasState(state, member));
  if (state.snapshotStep < step && isOwed && source !== undefined) {
    // One checkpoint at a time: the members hold until the previous one is on disk.
    const isWriting = state.checkpointInFlight !== undefined || state.checkpointAbandoned !== undefined;
    if (isWriting) return wait(state, why, 'a checkpoint is still being written');
    const message = { type: 'snapshot', term: state.term, step } as const;
    const effects: Effect[] = [{ kind: 'send', to: source.id, message }];
    return {
      state: { ...state, stage: 'snapshotting', sinceMs: nowMs },
      effects,
      reason: `${why}; a checkpoint is due`,
    };
  }
  if (last) {
    if (state.checkpointInFlight === undefined) return finish(state, [], why);
    // Then it is evaluated, for which a worker that is lost meanwhile is missed.
    const isEvaluatedThen = isUnevaluated && step >= plan.maxSteps && state.givingUp === undefined;
    return wait(isEvaluatedThen ? state : { ...state, stage: 'finishing' }, why, 'waiting for the checkpoint');
  }
  const comers = state.joiners.filter((joiner) => !joiner.leaving && mayComeIn(state, joiner, nowMs));
  // Only the sender has the rest of its state.
  const sender = state.members.find(({ id }) => id === state.checkpointInFlight?.from);
  if (sender?.leaving) return wait(state, why, `${nameOf(sender)} leaves when its checkpoint is written`);
  const gone = letGo(state);
  if (gone.names.length > 0) {
    const isEnough = gone.state.members.length + comers.length >= plan.minWorkers;
    if (comers.length === 0 || !isEnough)
      return afterLeave(gone.effects, reform(gone.state, nowMs, `${gone.names.join(', ')} left`));
    const ring = [...gone.state.members, ...comers];
    return after(gone.effects, openTerm(gone.state, ring, nowMs, `${gone.names.join(', ')} left, others joined`));
  }
  // Without a step between two terms, workers that fail at once could block the run forever.
  if (comers.length > 0 && hasAdvanced(state)) {
    const names = comers.map(({ worker }) => worker).join(', ');
    return openTerm(state, [...state.members, ...comers], nowMs, `${names} joined`);
  }
  if (needsRollouts(state)) return rollOut(state, nowMs, why);
  const message = { type: 'proceed', term: state.term, step } as const;
  const proceed = state.members.map(({ id }): Effect => ({ kind: 'send', to: id, message }));
  const { state: assigned, effects } = assignAhead({ ...allTraining(state), holding: false, sinceMs: nowMs });
  return { state: assigned, effects: [...proceed, ...effects], reason: why };
}

/** Whether a step or a part of rollouts was completed since the term was opened. */
function hasAdvanced(state: RunState): boolean {
  return state.step !== state.openedAtStep || partsDone(state) > state.openedAtPart;
}

export function onRolledOut(
  state: RunState,
  member: Member,
  message: WorkerMessageOf<'rolledOut'>,
  nowMs: number,
): Decision {
  const mayChange = (now: RunState) => {
    const { stopRequested, members, joiners } = now;
    const comes = (joiner: Member) => !joiner.leaving && mayComeIn(now, joiner, nowMs) && hasAdvanced(now);
    return stopRequested || members.some(({ leaving }) => leaving) || joiners.some(comes);
  };
  return onPartRolledOut(state, member, message, { nowMs, mayChange, atBoundary });
}

export function onEvaluated(
  state: RunState,
  member: Member,
  message: WorkerMessageOf<'evaluated'>,
  nowMs: number,
): Decision {
  if (!isNextPart(state, member, message)) return stale(state, member, `evaluated of step ${message.step}`);
  const { state: next, effects } = withPart(state, member, message, nowMs);
  const waiting = awaiting(next, (other) => !isEvaluated(next, other));
  if (waiting !== undefined) return { state: waiting, effects, reason: '' };
  const { step } = next;
  if (isCutShort(next)) {
    const cut: RunState = { ...withoutEvaluation(next), stage: 'stepping' };
    return after(effects, atBoundary(cut, nowMs, `the evaluation of step ${step} is cut short`));
  }
  const sums = sumsOf(next.members.map((other) => other.evaluated));
  const problem = notFiniteEvaluation(sums, step);
  if (problem !== undefined) {
    const ending = { ...endingDiverged(next, problem), stage: 'stepping', evaluatedStep: step } as const;
    return atBoundary(ending, nowMs, problem);
  }
  const done: Effect = { kind: 'evaluationDone', step, sums };
  const loss = (sums['loss'] ?? Number.NaN) / (sums['weight'] ?? 0);
  const evaluations = [...next.evaluations, { step, loss }];
  const { stopRequested, effects: said } = afterEvaluation({ ...next, evaluations });
  // A checkpoint has the loss of its step, also one that was written before it was known.
  const again = step > 0 && next.snapshotStep >= step && { snapshotStep: step - 1, checkpointOwed: true };
  const evaluated: RunState = { ...next, stage: 'stepping', evaluatedStep: step, evaluations, stopRequested, ...again };
  return after([done, ...said], atBoundary(evaluated, nowMs, `step ${step} is evaluated`));
}

/** A turned validation loss is reported once, and ends a run that is configured to stop. */
function afterEvaluation({ plan, term, step, evaluations, stopRequested }: RunState) {
  const since = evaluationsSinceBest(evaluations);
  const stops = plan.stopAfter > 0 && since >= plan.stopAfter && !stopRequested && step < plan.maxSteps;
  const event = stops ? 'stopping' : 'warning';
  if (!stops && since !== turnedAfter) return { stopRequested, effects: [] };
  const goesOn = stopRequested || step >= plan.maxSteps ? '' : '; training continues';
  const what = stops ? `; the run ends early (eval.stopAfter is ${plan.stopAfter})` : goesOn;
  const reason = `${describeTurn(evaluations)}${what}`;
  const effects: Effect[] = [{ kind: 'event', event: { event, reason, term, step }, show: true }];
  return { stopRequested: stopRequested || stops, effects };
}

export function onSnapshotTaken(
  state: RunState,
  member: Member,
  message: WorkerMessageOf<'snapshotTaken'>,
  nowMs: number,
): Decision {
  const { step } = state;
  if (state.stage !== 'snapshotting' || message.term !== state.term || message.step !== step) {
    return stale(state, member, `snapshot of step ${message.step}`);
  }
  const tensors = member.prepared?.tensors ?? [];
  const { term } = message;
  const begin: Effect = { kind: 'beginCheckpoint', from: member.id, term, step, bytes: message.bytes, tensors };
  const checkpointInFlight = { step, from: member.id };
  const next: RunState = { ...state, stage: 'stepping', snapshotStep: step, checkpointInFlight, checkpointOwed: false };
  return after(
    [begin],
    atBoundary(withMember(next, { ...member, ...idle }), nowMs, `the snapshot of step ${step} is taken`),
  );
}
