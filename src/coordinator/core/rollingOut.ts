/**
 * Rollouts: before the first step of an iteration, the model writes the samples that its steps learn from. They are leased to the members
 * in parts. A part gives the same bytes on every member, so that of a lost member is leased again. The samples may be used only when their
 * hash is in the journal. Pure, a part of decide.ts.
 */
import type { WorkerMessageOf } from '../../comm/workerMessages.ts';
import { after, fail, idle, nothing, stale, withMember } from './decisionParts.ts';
import type { Decision, Effect } from './effects.ts';
import { iterationAfter, phaseOf } from './iterations.ts';
import type { RunEvent } from './runEvents.ts';
import type { KnownIteration } from './runPlan.ts';
import type { Member, RolloutPhase, RunState } from './runState.ts';
import { endGathering } from './terms.ts';

/** Continues a run whose members wait between two steps (stepping.ts). */
export type Continue = (state: RunState, nowMs: number, why: string) => Decision;

/** Begins or continues the rollouts of the next iteration. */
export function rollOut(state: RunState, nowMs: number, why: string): Decision {
  const { stepsPerIteration = 1 } = state.plan.rollouts ?? {};
  const { step, committedTerm } = state;
  const iteration = iterationAfter(step, stepsPerIteration);
  if (step % stepsPerIteration !== 0) {
    return fail(
      state,
      `step ${step} is within iteration ${iteration}, whose rollouts are not known: resume the run from a checkpoint`,
    );
  }
  const known = phaseOf(state);
  const phase = known ?? { iteration, step, committedTerm, done: [], isJudging: false };
  const begin: Effect[] = known === undefined ? [{ kind: 'beginRollouts', iteration }] : [];
  const next: RunState = { ...state, stage: 'rollingOut', sinceMs: nowMs, rollout: phase };
  return after(begin, leaseParts(next, nowMs, `${why}; rollouts of iteration ${iteration}`));
}

/** Gives each idle member a part, and has the rollouts judged when all parts are finished. */
function leaseParts(state: RunState, nowMs: number, why: string): Decision {
  const { rollout: phase, plan, term, step } = state;
  const parts = plan.rollouts?.parts ?? 0;
  if (phase === undefined || phase.isJudging) return nothing(state, why);
  const { iteration } = phase;
  if (phase.done.length === parts) {
    const judge: Effect = { kind: 'judgeRollouts', iteration, step, committedTerm: phase.committedTerm };
    const judging = { ...state, sinceMs: nowMs, rollout: { ...phase, isJudging: true } };
    return { state: judging, effects: [judge], reason: `iteration ${iteration} is rolled out` };
  }
  const taken = new Set([...phase.done, ...state.members.map(({ lease }) => lease)]);
  const free = Array.from({ length: parts }, (_, part) => part).filter((part) => !taken.has(part));
  const effects: Effect[] = [];
  const members = state.members.map((member): Member => {
    if (member.lease !== undefined) return member;
    const part = free.shift();
    if (part === undefined) return member;
    effects.push({ kind: 'rollout', to: member.id, term, step, iteration, part });
    return { ...member, phase: 'rollout', lease: part };
  });
  return { state: { ...state, members }, effects, reason: why };
}

/** @param mayChange whether members leave or join, or the run ends, once nobody has a part */
export function onRolledOut(
  state: RunState,
  member: Member,
  { term, step, iteration, part }: WorkerMessageOf<'rolledOut'>,
  options: { nowMs: number; mayChange: (state: RunState) => boolean; atBoundary: Continue },
): Decision {
  const { nowMs, mayChange, atBoundary } = options;
  const { rollout: phase } = state;
  const isOfPhase = state.stage === 'rollingOut' && term === state.term && step === state.step;
  if (!isOfPhase || phase?.iteration !== iteration || member.lease !== part) {
    return stale(state, member, `part ${part} of iteration ${iteration}`);
  }
  const keep: Effect = { kind: 'keepRollouts', iteration, part };
  // A worker that has finished a part is not late.
  const done: RunState = {
    ...withMember(state, { ...member, ...idle, lease: undefined }),
    sinceMs: nowMs,
    rollout: { ...phase, done: [...phase.done, part] },
  };
  const isComplete = done.rollout?.done.length === done.plan.rollouts?.parts;
  if (isComplete || !mayChange(done)) return after([keep], leaseParts(done, nowMs, ''));
  if (done.members.some(({ lease }) => lease !== undefined)) return { state: done, effects: [keep], reason: '' };
  return after([keep], atBoundary({ ...done, stage: 'stepping' }, nowMs, 'no member has a part of the rollouts'));
}

/** The rollouts are on disk. From here on they are those of their iteration, even if workers or the coordinator fail. */
export function onRolloutsWritten(
  state: RunState,
  { iteration, step, committedTerm, sha256, kl }: Extract<RunEvent, { kind: 'rolloutsWritten' }>,
  nowMs: number,
  atBoundary: Continue,
): Decision {
  if (!isJudging(state, { iteration, step, committedTerm })) {
    return nothing(state, `ignored rollouts of iteration ${iteration}`);
  }
  const record: Effect = { kind: 'rolloutsKnown', iteration, step, sha256 };
  const { stepsPerIteration = 1 } = state.plan.rollouts ?? {};
  // The run may return to the newest checkpoint, which earlier iterations do not continue from.
  const isNeeded = (other: KnownIteration) => other.iteration * stepsPerIteration > state.checkpointStep;
  const earlier = state.iterations.filter((other) => other.iteration < iteration && isNeeded(other));
  const iterations = [...earlier, { iteration, sha256 }];
  const next = { ...state, rollout: undefined, iterations, ...tooFar(state, iteration, kl) };
  return after([record], judged(next, nowMs, `the rollouts of iteration ${iteration} are written`, atBoundary));
}

/** A reward that cannot be computed, or a full disk, would fail again: the run ends, and the state that made the rollouts is saved. */
export function onRolloutsFailed(
  state: RunState,
  { iteration, step, committedTerm, message, blame }: Extract<RunEvent, { kind: 'rolloutsFailed' }>,
  nowMs: number,
  atBoundary: Continue,
): Decision {
  if (!isJudging(state, { iteration, step, committedTerm })) return nothing(state, `ignored: ${message}`);
  const ending = { stopRequested: true, givingUp: message, isUsersFault: blame === 'user', rollout: undefined };
  return judged({ ...state, ...ending }, nowMs, message, atBoundary);
}

/** The state that made the rollouts may have been lost meanwhile. */
function isJudging(state: RunState, of: Pick<RolloutPhase, 'iteration' | 'step' | 'committedTerm'>): boolean {
  const phase = phaseOf(state);
  return (
    phase?.isJudging === true &&
    phase.iteration === of.iteration &&
    phase.step === of.step &&
    phase.committedTerm === of.committedTerm
  );
}

/** Members of a ring that waits continue; in other stages the run comes to its next boundary by itself. */
function judged(state: RunState, nowMs: number, why: string, atBoundary: Continue): Decision {
  if (state.stage === 'gathering' && state.stopRequested) return endGathering(state, nowMs, why);
  if (state.stage !== 'rollingOut') return nothing(state, why);
  return atBoundary({ ...state, stage: 'stepping', sinceMs: nowMs }, nowMs, why);
}

/** A policy too far from its reference ends the run; the state that wrote the rollouts is saved. */
function tooFar({ plan, step }: RunState, iteration: number, kl: number): Partial<RunState> {
  const klMax = plan.rollouts?.klMax ?? 0;
  if (klMax === 0 || !(kl > klMax)) return {};
  const saved = step === plan.startStep ? '' : ` The state of step ${step} is saved.`;
  const givingUp =
    `the KL divergence of the policy from the reference is ${kl.toPrecision(3)} in iteration ${iteration}, above task.klMax (${klMax}).${saved} ` +
    `Resume with a larger task.beta (it keeps the policy near the reference), a lower schedule.learningRate, or a larger task.klMax`;
  return { stopRequested: true, givingUp };
}
