/**
 * Building blocks of decide.ts: the possible answers to an event (nothing, a refusal, the end, a failure), a state with one member
 * changed, and the totals of all members' reports. Pure, like decide.ts itself.
 */
import { InvariantError } from '../../base/errors.ts';
import { countOf } from '../../base/numberText.ts';
import { type Sums, totalOf } from '../../base/sums.ts';
import type { CoordinatorMessageOf } from '../../comm/coordinatorMessages.ts';
import type { WorkerMessage } from '../../comm/workerMessages.ts';
import { lacksEvaluation } from './bestEvaluation.ts';
import type { Decision, Effect } from './effects.ts';
import { engineText } from './engineMix.ts';
import { findById, listOf, placeFrom, withEach, withReplaced, withReplacedAll } from './roster.ts';
import type { Member, RunState } from './runState.ts';
import { learningRateAt } from './schedule.ts';

/** Time that an excluded worker stays outside the ring, in multiples of `comm.heartbeatTimeoutMs`: doubled each time up to the maximum. */
const absenceTimeouts = 3;
const absenceMostMs = 600_000;

export function refuse(state: RunState, from: string, reason: string): Decision {
  return {
    state,
    effects: [{ kind: 'send', to: from, message: { type: 'refused', reason } }],
    reason: `refused ${from}: ${reason}`,
  };
}

/** The orderly end of a run, or its failure if it gives up. */
export function finish(state: RunState, before: readonly Effect[], why: string): Decision {
  if (state.givingUp !== undefined) {
    return after(before, fail(state, state.givingUp, state.isUsersFault ? 'user' : 'run'));
  }
  const isEarly = state.wasAsked && !isComplete(state);
  const reason = isEarly ? 'the run was asked to end before its last step' : 'the run is complete';
  const effects: Effect[] = [
    ...before,
    ...stopAll(state, reason, {
      failed: false,
      ...(isEarly && (state.isToContinue ? { unfinished: true } : { interrupted: true })),
    }),
    { kind: 'finish', step: state.appliedStep },
  ];
  return { state: { ...state, stage: 'finished' }, effects, ...because(why, reason) };
}

/** Whether the run has made its last step and evaluated it. */
export function isComplete({ plan, appliedStep, evaluations }: RunState): boolean {
  return appliedStep >= plan.maxSteps && !lacksEvaluation(plan, appliedStep, evaluations);
}

export function fail(state: RunState, message: string, blame: 'user' | 'run' = 'run'): Decision {
  const effects: Effect[] = [
    ...stopAll(state, message.slice(0, 4_000), { failed: true }),
    { kind: 'fail', message, blame },
  ];
  return { state: { ...state, stage: 'failed' }, effects, reason: message, action: 'the run fails' };
}

function stopAll(
  state: RunState,
  reason: string,
  how: Pick<CoordinatorMessageOf<'stop'>, 'failed' | 'unfinished' | 'interrupted'>,
): Effect[] {
  return everyone(state).map(({ id }) => ({ kind: 'send', to: id, message: { type: 'stop', reason, ...how } }));
}

export function nothing(state: RunState, reason = ''): Decision {
  return { state, effects: [], reason };
}

/** The run waits and does not respond to the event yet. */
export function wait(state: RunState, why: string, action: string): Decision {
  return { state, effects: [], ...because(why, action) };
}

/** The event and the response: `rank 1 is gone: 1 worker continues`. */
export function because(why: string, action: string): { reason: string; action: string } {
  return { reason: `${why}: ${action}`, action };
}

export function stale(state: RunState, member: Member, what: string): Decision {
  return nothing(state, staleReason(state, member, what));
}

export function staleReason({ term, step, stage }: RunState, member: Member, what: string): string {
  return `ignored ${what} of ${nameOf(member)} (term ${term}, step ${step}, ${stage})`;
}

/** A worker that was declared dead but lives is told to join again; its messages have no effect. */
export function fence(state: RunState, from: string, type: WorkerMessage['type']): Decision {
  const reason = `${from} is not a member of term ${state.term}`;
  const fenced: Effect = { kind: 'send', to: from, message: { type: 'fenced', reason } };
  return { state, effects: type === 'failed' ? [] : [fenced], reason: `ignored ${type}: ${reason}` };
}

export function seen(state: RunState, from: string, nowMs: number): RunState {
  const member = workerOf(state, from);
  return member === undefined ? state : withMember(state, { ...member, lastSeenMs: nowMs });
}

/** The ring's members, then the workers outside it. */
export function everyone(state: RunState): readonly Member[] {
  return listOf(state.members).concat(listOf(state.joiners));
}

/** The worker with this connection, in the ring or outside it. */
export function workerOf({ members, joiners }: RunState, id: string): Member | undefined {
  return findById(members, id) ?? findById(joiners, id);
}

export function withMember(state: RunState, member: Member): RunState {
  const members = withReplaced(state.members, member);
  if (members !== undefined) return { ...state, members };
  const joiners = withReplaced(state.joiners, member);
  return joiners === undefined ? state : { ...state, joiners };
}

/** With several workers changed, each of them once. */
export function withMembers(state: RunState, changed: readonly Member[]): RunState {
  const [first] = changed;
  if (first === undefined || changed.length === 1) return first === undefined ? state : withMember(state, first);
  const members = withReplacedAll(state.members, changed);
  const joiners = state.joiners.length === 0 ? state.joiners : withReplacedAll(state.joiners, changed);
  return { ...state, members, joiners };
}

/** The state that remembers which member is awaited; undefined if no member is. */
export function awaiting(state: RunState, isAwaited: (member: Member) => boolean): RunState | undefined {
  const awaited = placeFrom(state.members, state.awaited, isAwaited);
  if (awaited === undefined || awaited === state.awaited) return awaited === undefined ? undefined : state;
  return { ...state, awaited };
}

/** Whether its replica has the committed state, bit for bit. */
export function hasState({ step, committedTerm }: RunState, { holds }: Pick<Member, 'holds'>): boolean {
  return holds?.step === step && holds.term === committedTerm;
}

/** Whether it lacks only the commit of the committed step, and the coordinator can provide it. */
export function lacksCommit({ step, committedTerm, committed }: RunState, { holds }: Member): boolean {
  const isReduced = holds?.pending?.step === step && holds.pending.term === committedTerm;
  return isReduced && committed.gradNorm !== undefined;
}

/** Whether the committed state is in a checkpoint, or cannot be because its last write failed. */
export function isSaved({
  step,
  checkpointStep,
  snapshotStep,
  checkpointInFlight,
  checkpointAbandoned,
}: RunState): boolean {
  const isWriting = checkpointInFlight !== undefined || checkpointAbandoned !== undefined;
  return step <= checkpointStep || (step <= snapshotStep && !isWriting);
}

/** Whether a worker was excluded a short time ago, and would break the ring again. */
export function isAbsent({ absences }: RunState, worker: string, nowMs: number): boolean {
  return absences.some((absence) => absence.worker === worker && nowMs < absence.untilMs);
}

/** Excludes it from the ring for a while, longer each time. */
export function withAbsence(state: RunState, worker: string, nowMs: number): { held: RunState; pauseMs: number } {
  const times = state.absences.find((absence) => absence.worker === worker)?.times ?? 0;
  const pauseMs = Math.min(absenceMostMs, absenceTimeouts * state.plan.heartbeatTimeoutMs * 2 ** Math.min(times, 16));
  const others = state.absences.filter((absence) => absence.worker !== worker);
  const absences = [...others, { worker, times: times + 1, untilMs: nowMs + pauseMs }];
  return { held: { ...state, absences }, pauseMs };
}

/** A decision preceded by other effects. */
export function after(before: readonly Effect[], decision: Decision): Decision {
  return { ...decision, effects: [...before, ...decision.effects] };
}

/** A checkpoint cannot be completed if its sender leaves; the next boundary writes it. */
export function withoutSource(state: RunState, gone: ReadonlySet<string>): { state: RunState; effects: Effect[] } {
  const inFlight = state.checkpointInFlight;
  if (inFlight === undefined || !gone.has(inFlight.from)) return { state, effects: [] };
  const snapshotStep = Math.min(state.snapshotStep, inFlight.step - 1);
  return {
    state: {
      ...state,
      checkpointInFlight: undefined,
      checkpointAbandoned: inFlight.step,
      checkpointOwed: true,
      snapshotStep,
    },
    effects: [{ kind: 'abandonCheckpoint', step: inFlight.step }],
  };
}

/** A member as recorded in events.jsonl. */
export function factsOf(state: RunState, { worker, rank, phase, step }: Member) {
  return { worker, term: state.term, step, phase, ...(rank >= 0 && { rank }) };
}

export function namesOf(workers: readonly { readonly worker: string }[]): string[] {
  return workers.map(({ worker }) => worker);
}

export function workersOf(count: number): string {
  return countOf(count, 'worker');
}

/** Learning rate of the update that makes `step` updates; the schedule counts them from 0. */
export function learningRateOf({ plan }: RunState, step: number): number {
  return learningRateAt(step - 1, plan.schedule);
}

export function isDue(step: number, everySteps: number): boolean {
  return everySteps > 0 && step % everySteps === 0;
}

/** Sums over all members, added in rank order. */
export function sumsOf(parts: readonly ({ readonly sums: Sums } | undefined)[]): Sums {
  const all: Sums[] = [];
  for (const part of parts) if (part !== undefined) all.push(part.sums);
  return totalOf(all);
}

export function firstDifference(members: readonly Member[]): string | undefined {
  const first = members[0];
  const odd = members.find((member) => member.applied?.parameterHash !== first?.applied?.parameterHash);
  if (first === undefined || odd === undefined) return undefined;
  const short = (member: Member) => member.applied?.parameterHash?.slice(0, 12) ?? 'no hash';
  return `${nameOf(first)} has ${short(first)}, ${nameOf(odd)} has ${short(odd)}${engineDifference(first, odd)}`;
}

/** Why the bits of two members may differ: different engines, units or versions. */
export function engineDifference(one: Member, other: Member | undefined): string {
  const text = (member: Member | undefined) => member?.prepared && engineText(member.prepared.engineId);
  const [its, others] = [text(one), text(other)];
  if (its === others) return ': use the same version of lockstep everywhere';
  return `; they compute on ${its} and ${others}: use machines of one kind, and the same version of lockstep`;
}

export function required<T>(value: T | undefined): T {
  if (value === undefined) throw new InvariantError('a member without a report was counted as done');
  return value;
}

/** A member's name in messages: `rank 2 (pid 4711 on host)`. */
export function nameOf(member: Member): string {
  const who = member.rank < 0 ? `worker ${member.worker}` : `rank ${member.rank}`;
  return `${who} (pid ${member.pid} on ${member.host})`;
}

export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

/** The activity of a member without instructions. */
export const idle = { phase: 'waiting for work' } as const;

/** What a member does from the moment it may begin a step. */
export const trainingPhase = 'forward and backward';

/** The activity of such a member. */
export function training(step: number) {
  return { phase: trainingPhase, step } as const;
}

/** Every member begins the step after the committed one. */
export function allTraining(state: RunState): RunState {
  return { ...state, members: withEach(state.members, (member) => ({ ...member, ...training(state.step + 1) })) };
}
