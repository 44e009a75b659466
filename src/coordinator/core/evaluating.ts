/**
 * An evaluation, part by part: each rank gets a bounded number of its windows at a time, and the next ones when it has done those. A
 * whole validation split may be more than a message may hold, and longer than a step may take. Pure, a part of decide.ts.
 */
import { addSums, noSums } from '../../base/sums.ts';
import type { WorkerMessageOf } from '../../comm/workerMessages.ts';
import { idle, withMember } from './decisionParts.ts';
import type { Effect, Member, RunState } from './runState.ts';

/** Sends a part of its windows to a rank. */
export function evaluatePart({ term, step }: RunState, { id, rank }: Member, part: number): Effect {
  return { kind: 'evaluate', to: id, term, step, rank, part };
}

/** Whether the message is what the member is to say next. */
export function isNextPart(state: RunState, member: Member, message: WorkerMessageOf<'evaluated'>): boolean {
  const isOfStep = message.term === state.term && message.step === state.step;
  return state.stage === 'evaluating' && isOfStep && message.part === partsDone(state, member);
}

/** The state with a part added to the sums of its rank, and the rank's next part, if there is one. */
export function withPart(
  state: RunState,
  member: Member,
  { step, part, sums }: WorkerMessageOf<'evaluated'>,
  nowMs: number,
): { state: RunState; effects: Effect[] } {
  const before = part > 0 ? member.evaluated : undefined;
  const evaluated = { step, parts: part + 1, sums: addSums(before?.sums ?? noSums, sums) };
  if (evaluated.parts === partsOf(state)) {
    return { state: withMember(state, { ...member, ...idle, evaluated }), effects: [] };
  }
  // Whoever has done a part is not late.
  const next = { ...withMember(state, { ...member, evaluated }), sinceMs: nowMs };
  return { state: next, effects: [evaluatePart(state, member, evaluated.parts)] };
}

/** Whether the member has done all its parts. */
export function isEvaluated(state: RunState, member: Member): boolean {
  return partsDone(state, member) === partsOf(state);
}

function partsDone({ step }: RunState, { evaluated }: Member): number {
  return evaluated?.step === step ? evaluated.parts : 0;
}

/** The same for every rank, though the last one may be empty on some. */
function partsOf({ plan, members }: RunState): number {
  return Math.max(1, Math.ceil(Math.ceil(plan.evalWindows / members.length) / plan.evalPartWindows));
}
