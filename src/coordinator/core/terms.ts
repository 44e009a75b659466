/**
 * Who is in the ring: opens a term, and decides after a loss whether the other workers continue or wait. Pure, a part of decide.ts.
 *
 * A member of a new term keeps its state if it is the committed one. Otherwise the previous rank sends it, which has that state or is receiving it; if no worker has
 * it, the first gets the newest checkpoint's state, and the later steps are repeated.
 */
import type { CoordinatorMessageOf } from '../../comm/coordinatorMessages.ts';
import { evaluatedThrough } from './bestEvaluation.ts';
import {
  after,
  because,
  everyone,
  factsOf,
  finish,
  hasState,
  idle,
  isSaved,
  lacksCommit,
  nameOf,
  namesOf,
  nothing,
  required,
  seconds,
  wait,
  withoutSource,
  workersOf,
} from './decisionParts.ts';
import type { Decision, Effect } from './effects.ts';
import { iterationsAt, partsDone } from './iterations.ts';
import type { Members } from './roster.ts';
import type { Member, RunState } from './runState.ts';

type Form = CoordinatorMessageOf<'form'>;

/**
 * Opens the next term with these members, who hold until all are ready.
 * @param purpose why it is opened, if not to train
 */
export function openTerm(
  before: RunState,
  ring: Members<Member>,
  nowMs: number,
  why: string,
  purpose?: string,
): Decision {
  const term = before.term + 1;
  const isLost = !ring.some((member) => hasState(before, member) || lacksCommit(before, member));
  const state = isLost && before.step > before.checkpointStep ? rewound(before, term) : before;
  const { step, committedTerm } = state;
  const verify = ring.some((member) => member.ready === undefined || !hasState(state, member));
  const effects: Effect[] = state === before ? [] : [{ kind: 'rewind', step }];
  const held = { step, term: committedTerm };
  const sorted = [...ring].sort((a, b) => (a.worker < b.worker ? -1 : 1));
  const isFromSeed = step === 0 && !state.plan.startsFromCheckpoint;
  // After a return to step 0, what a member holds of a later step is lost too.
  const isSourceless = !sorted.some((member) => hasState(state, member) || lacksCommit(state, member));
  const kinds: Form['state'][] = [];
  const members = sorted.map((member, rank): Member => {
    const keeps = hasState(state, member) || lacksCommit(state, member);
    // Results of an abandoned step or of a repeated evaluation do not count.
    const { evaluated: _, reduced: __, ready: ___, lease: ____, ring: _____, ...rest } = member;
    const from = keeps
      ? 'keep'
      : isSourceless && isFromSeed
        ? 'initialise'
        : isSourceless && rank === 0
          ? 'receive'
          : 'follow';
    kinds.push(from);
    return { ...rest, ...idle, rank, step, holds: keeps ? held : undefined, follows: from === 'follow' };
  });
  effects.push({ kind: 'termOpened', term, step, members });
  for (const member of sorted) {
    if (!lacksCommit(state, member)) continue;
    // It has the gradients of the committed step, from the term in which it was committed.
    const learningRate = required(state.committed.learningRate);
    const gradNorm = required(state.committed.gradNorm);
    const update = { learningRate, gradNorm, hash: false, hold: true };
    const commit = { type: 'commit', term: committedTerm, step, ...update } as const;
    effects.push({ kind: 'send', to: member.id, message: commit });
  }
  const at = (rank: number) => (rank + members.length) % members.length;
  const addressOf = (rank: number) => members[at(rank)]?.ringAddress ?? '';
  for (const [rank, { id }] of members.entries()) {
    const addresses = { nextAddress: addressOf(rank + 1), previousAddress: addressOf(rank - 1) };
    const place = { rank, worldSize: members.length, ...addresses };
    const kind = required(kinds[rank]);
    const send = kinds[at(rank + 1)] === 'follow';
    const form = { type: 'form', term, ...place, step, committedTerm, state: kind, send, verify } as const;
    effects.push({ kind: 'send', to: id, message: form });
  }
  const first = members.find((_, rank) => kinds[rank] === 'receive')?.id;
  const passes = members
    .filter(({ follows }) => follows)
    .map(({ id, rank }) => ({ from: required(members[at(rank - 1)]).id, to: id }));
  if (first !== undefined || passes.length > 0) {
    // All have the same: membership.ts.
    const { tensors } = required(members[0]?.prepared);
    effects.push({ kind: 'transfer', first, passes, term, step, tensors });
  }
  const ids = new Set(sorted.map(({ id }) => id));
  const joiners = everyone(state).filter(({ id }) => !ids.has(id));
  const going = `${workersOf(members.length)} ${members.length === 1 ? 'continues' : 'continue'} from step ${step} (term ${term})`;
  const decided = because(why, purpose === undefined ? going : `${purpose}; ${going}`);
  effects.push({ kind: 'event', event: { event: 'term', reason: decided.reason, term, step }, show: false });
  const opened = {
    stage: 'forming',
    sinceMs: nowMs,
    term,
    members,
    joiners,
    holding: true,
    broken: undefined,
    openedAtStep: step,
    openedAtPart: partsDone(state),
  } as const;
  return { state: { ...state, ...opened, assignedStep: step }, effects, ...decided };
}

/** No worker has the committed state: back to the newest checkpoint. */
function rewound(state: RunState, term: number): RunState {
  const step = state.checkpointStep;
  const evaluations = state.evaluations.filter((evaluated) => evaluated.step <= step);
  const iterations = iterationsAt(state, step);
  // Without a newer checkpoint, steps of before the resume are repeated, with the batch size of today.
  const plan = step === state.plan.startStep ? { ...state.plan, ...state.plan.fromCheckpoint } : state.plan;
  const evaluatedStep = evaluatedThrough(plan, step, evaluations);
  const position = { step, appliedStep: step, snapshotStep: step, evaluatedStep };
  const back = { ...position, evaluations, iterations, rollout: undefined };
  return { ...state, ...back, plan, committedTerm: term };
}

/** After a loss or a departure: the others continue if there are enough of them, otherwise the run gathers. */
export function reform(state: RunState, nowMs: number, why: string): Decision {
  const stay = state.members.filter(({ leaving }) => !leaving);
  const holds = (member: Member) => hasState(state, member);
  const enough = state.stopRequested ? 1 : state.plan.minWorkers;
  if (stay.length >= enough && stay.some(holds)) return openTerm(state, stay, nowMs, why);
  // Workers leave at the next boundary; if the state would leave with them, it is saved there first.
  if (!isSaved(state) && !stay.some(holds) && state.members.some(holds))
    return openTerm(state, state.members, nowMs, why);
  // Without a ring there is no boundary to wait for.
  const { state: rest, effects } = letGo(state);
  const joiners = everyone(rest).map((member): Member => ({ ...member, ...idle, rank: -1, lease: undefined }));
  const needed = state.plan.minWorkers;
  const gathering = { stage: 'gathering', sinceMs: nowMs, members: [], joiners, needed, broken: undefined } as const;
  return afterLeave(effects, tryToOpen({ ...rest, ...gathering }, nowMs, why));
}

/** After workers have left: if the run then waits, the last of the events says for whom, like that of a loss. */
export function afterLeave(effects: readonly Effect[], next: Decision): Decision {
  const { action, state } = next;
  const last = effects.findLastIndex((effect) => effect.kind === 'event' && effect.event.event === 'leave');
  const told = effects.map((effect, i): Effect => {
    const isSaid = i === last && effect.kind === 'event' && action !== undefined && state.stage === 'gathering';
    return isSaid ? { ...effect, event: { ...effect.event, action } } : effect;
  });
  return after(told, next);
}

/**
 * How long workers may take to return. Steps are at stake until the first of them returns, and it may look in the wrong place for a while;
 * unless as many others have joined instead, since then their machines were started again.
 */
function patienceMs(state: RunState): number {
  const { plan, joiners, missing, step, checkpointStep, openedAtStep } = state;
  const hasReturned = joiners.some((member) => hasState(state, member) || lacksCommit(state, member));
  const guests = joiners.filter(({ worker }) => !plan.localWorkers.includes(worker));
  const isAtStake =
    openedAtStep === undefined && step > checkpointStep && !hasReturned && guests.length < missing.length;
  return isAtStake ? Math.max(plan.heartbeatTimeoutMs, plan.returnTimeoutMs ?? 0) : plan.heartbeatTimeoutMs;
}

/** While the run gathers: opens a term once there are enough workers. */
export function tryToOpen(state: RunState, nowMs: number, why: string): Decision {
  if (state.stopRequested) return endGathering(state, nowMs, why);
  const { plan, needed, missing, starting, joiners } = state;
  const there = joiners.filter(({ prepared, leaving }) => prepared !== undefined && !leaving);
  if (there.length >= needed) {
    const isLost = !there.some((member) => hasState(state, member) || lacksCommit(state, member));
    // The coordinator is about to learn what it can return to.
    if (isLost && state.checkpointAbandoned !== undefined)
      return wait(state, why, 'a checkpoint is still being written');
    // A worker with the state may be about to return.
    const mayReturn = isLost && state.step > state.checkpointStep && missing.length > 0;
    if (!mayReturn || nowMs - state.sinceMs >= patienceMs(state)) return openTerm(state, there, nowMs, why);
    const whom = namesOf(missing).join(', ');
    return wait(state, why, `waiting for ${whom}, which had the state of step ${state.step}`);
  }
  const possible = joiners.length + starting.length + missing.length;
  if (possible < plan.minWorkers && !plan.open) {
    const left = `${workersOf(possible)} ${possible === 1 ? 'is' : 'are'} left, and the run needs ${plan.minWorkers}`;
    const message = state.lastLoss === undefined ? left : `${state.lastLoss}; ${left}`;
    const end = endGathering(givingUp(state, message), nowMs, why);
    return { ...end, ...because(why, `${left}; ${end.action ?? end.reason}`) };
  }
  const awaited = [
    ...starting,
    ...namesOf(missing),
    ...joiners.filter(({ prepared }) => !prepared).map(({ worker }) => worker),
  ];
  const whom = awaited.length > 0 ? awaited.join(', ') : 'others to join';
  return wait(state, why, `${there.length} of ${needed} workers are ready, waiting for ${whom}`);
}

/**
 * A run that is to end while it gathers. State beyond the newest checkpoint is saved first, however few workers there are, and a
 * worker that holds it may be about to return.
 */
export function endGathering(state: RunState, nowMs: number, why: string): Decision {
  if (state.checkpointInFlight !== undefined || state.checkpointAbandoned !== undefined) {
    return wait(state, why, 'a checkpoint is still being written');
  }
  if (state.step <= state.checkpointStep) return finish(state, [], why);
  const holders = state.joiners.filter((member) => hasState(state, member) || lacksCommit(state, member));
  const prepared = holders.filter((member) => member.prepared !== undefined);
  if (prepared.length > 0) return openTerm(state, prepared, nowMs, why, `the state of step ${state.step} is saved`);
  const mayReturn = holders.length > 0 || state.missing.length > 0;
  if (mayReturn && nowMs - state.sinceMs <= state.plan.heartbeatTimeoutMs) {
    return wait(state, why, `waiting for the workers that had the state of step ${state.step}`);
  }
  const message = `no worker has the state of step ${state.step}: the newest checkpoint is of step ${state.checkpointStep}`;
  return finish({ ...state, appliedStep: state.checkpointStep }, [{ kind: 'warn', message }], why);
}

function givingUp(state: RunState, message: string): RunState {
  return { ...state, stopRequested: true, givingUp: message };
}

/** Time passes while the run gathers. */
export function onGatheringTick(state: RunState, nowMs: number): Decision {
  if (state.stopRequested) return endGathering(state, nowMs, 'the run was to end');
  const { plan, joiners, missing, needed } = state;
  const waitedMs = nowMs - state.sinceMs;
  if (missing.length > 0 && waitedMs > patienceMs(state)) {
    const again = plan.localWorkers.filter((worker) => namesOf(missing).includes(worker));
    const next = {
      ...state,
      sinceMs: nowMs,
      missing: [],
      starting: [...state.starting, ...again],
      // A resumed run starts with as many workers as a new one.
      needed: state.openedAtStep === undefined ? plan.worldSize : needed,
    };
    const effects = again.map((worker): Effect => ({ kind: 'startWorker', worker, afterMs: 0 }));
    return after(
      effects,
      tryToOpen(next, nowMs, `${namesOf(missing).join(', ')} did not come back within ${seconds(waitedMs)}`),
    );
  }
  if (waitedMs <= plan.joinTimeoutMs) return nothing(state);
  const there = joiners.filter(({ prepared }) => prepared !== undefined).length;
  if (there >= plan.minWorkers) {
    const enough = `${there} of ${needed} workers are ready after ${seconds(plan.joinTimeoutMs)}, which is enough: the run needs at least ${plan.minWorkers}`;
    return tryToOpen({ ...state, needed: plan.minWorkers }, nowMs, enough);
  }
  const loss = state.lastLoss === undefined ? '' : `${state.lastLoss}; `;
  const message = `${loss}${there} of ${needed} workers joined within ${seconds(plan.joinTimeoutMs)}: start the others with the join command, or lower the minimum number of workers (${plan.minWorkers})`;
  return endGathering(givingUp(state, message), nowMs, `${there} of ${needed} workers joined`);
}

/** Workers that leave at a boundary: they are released and the others continue. */
export function letGo(state: RunState): { state: RunState; effects: Effect[]; names: string[] } {
  const leavers = everyone(state).filter(({ leaving }) => leaving);
  const effects = leavers.flatMap((member): Effect[] => {
    const event = {
      event: 'leave',
      reason: `${nameOf(member)} leaves as requested`,
      ...factsOf(state, member),
    } as const;
    return [
      { kind: 'send', to: member.id, message: { type: 'stop', reason: 'it left the run', failed: false } },
      { kind: 'event', event, show: true },
    ];
  });
  const stays = ({ leaving }: Member) => !leaving;
  const left = { ...state, members: state.members.filter(stays), joiners: state.joiners.filter(stays) };
  const { state: without, effects: abandon } = withoutSource(left, new Set(leavers.map(({ id }) => id)));
  return {
    state: without,
    effects: [...effects, ...abandon],
    names: leavers.map(({ worker }) => worker),
  };
}
