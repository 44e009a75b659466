/**
 * An evaluation in parts: each rank gets a bounded number of its samples at a time, and more when it has finished those. An entire
 * validation split may exceed a message's size limit and a step's time limit. A run that is to end soon gives out no more parts. Pure, a
 * part of decide.ts.
 */
import { addSums, noSums } from '../../base/sums.ts';
import type { WorkerMessageOf } from '../../comm/workerMessages.ts';
import { idle, isSaved, withMember } from './decisionParts.ts';
import type { Effect } from './effects.ts';
import { withEach } from './roster.ts';
import type { Member, RunState } from './runState.ts';

/**
 * Whether nothing may be evaluated now. A run that was asked to end, or gives up, may have little time: it saves its state first. Then it is
 * evaluated only after its last step, since a resumed run does the rest.
 */
export function putsOffEvaluation(state: RunState): boolean {
  const endsSoon = state.wasAsked || state.givingUp !== undefined;
  return endsSoon && (state.step < state.plan.maxSteps || state.givingUp !== undefined || !isSaved(state));
}

/** Sends a rank a part of its samples. */
export function evaluatePart({ term, step }: RunState, { id, rank }: Member, part: number): Effect {
  return { kind: 'evaluate', to: id, term, step, rank, part };
}

/** Whether the message is the member's expected next report. */
export function isNextPart(state: RunState, member: Member, message: WorkerMessageOf<'evaluated'>): boolean {
  const isOfStep = message.term === state.term && message.step === state.step;
  return state.stage === 'evaluating' && isOfStep && message.part === partsDone(state, member);
}

/** Adds a part to its rank's sums, and sends the rank its next part, if any. */
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
  if (putsOffEvaluation(state)) {
    return { state: withMember(state, { ...member, ...idle, evaluated: { ...evaluated, isCut: true } }), effects: [] };
  }
  // A worker that has finished a part is not late.
  const next = { ...withMember(state, { ...member, evaluated }), sinceMs: nowMs };
  return { state: next, effects: [evaluatePart(state, member, evaluated.parts)] };
}

/** Whether the member has finished all parts that it gets. */
export function isEvaluated(state: RunState, member: Member): boolean {
  return isCut(state, member) || partsDone(state, member) === partsOf(state);
}

/** Whether the evaluation was cut short, so that its sums are not those of all samples. */
export function isCutShort(state: RunState): boolean {
  return state.members.some((member) => isCut(state, member));
}

function isCut({ step }: RunState, { evaluated }: Member): boolean {
  return evaluated?.step === step && evaluated.isCut === true;
}

/** The state without what was evaluated, so that the evaluation starts over. */
export function withoutEvaluation(state: RunState): RunState {
  const members = withEach(state.members, ({ evaluated: _, ...member }): Member => member);
  return { ...state, members };
}

function partsDone({ step }: RunState, { evaluated }: Member): number {
  return evaluated?.step === step ? evaluated.parts : 0;
}

/** The same number for every rank, though the last part may be empty on some. */
function partsOf({ plan, members }: RunState): number {
  return Math.max(1, Math.ceil(Math.ceil(plan.evalSamples / members.length) / plan.evalPartSamples));
}
