/**
 * A run that diverged: a loss or a gradient is not finite. The step is not applied. The workers' state, from before that step, is
 * saved, and the run ends with advice; or without, if it is a sweep of the learning rate. Pure, a part of decide.ts.
 */
import type { Sums } from '../../base/sums.ts';
import type { Decision } from './effects.ts';
import type { RunPlan } from './runPlan.ts';
import type { RunState } from './runState.ts';
import { openTerm } from './terms.ts';

/** The settings that decide which advice applies. */
export type DivergencePlan = Pick<RunPlan, 'schedule' | 'gradClip' | 'precision'>;

/** Whether a gradient was too large for float16. The replicas skip such a step, and halve the scale of the loss. */
export function isSkipped({ plan }: Pick<RunState, 'plan'>, gradNorm: number): boolean {
  return plan.precision === 'f16' && !Number.isFinite(gradNorm);
}

/** Names the first number that is not finite: `the loss of step 7 is NaN`. Undefined if all are finite. */
export function notFinite(sums: Sums, gradNorm: number, step: number): string | undefined {
  return (
    notFiniteSum(sums, (name) => `the ${name} of step ${step}`) ??
    (Number.isFinite(gradNorm) ? undefined : `the norm of the gradient of step ${step} is ${gradNorm}`)
  );
}

/** The same for an evaluation after `step`. */
export function notFiniteEvaluation(sums: Sums, step: number): string | undefined {
  return notFiniteSum(sums, (name) => `the validation ${name} after step ${step}`);
}

function notFiniteSum(sums: Sums, called: (name: string) => string): string | undefined {
  const found = Object.entries(sums).find(([, sum]) => !Number.isFinite(sum));
  return found && `${called(found[0])} is ${found[1]}`;
}

/** Saves the state between two steps, then fails the run with the message; {@link openTerm} does this. */
export function endDiverged(state: RunState, problem: string, nowMs: number): Decision {
  return openTerm(
    endingDiverged(state, problem),
    state.members,
    nowMs,
    problem,
    `the state of step ${state.step} is saved`,
  );
}

/** A run that ends at the current boundary. A sweep has found what it looks for: the rates that are too high. */
export function endingDiverged(state: RunState, problem: string): RunState {
  if (state.plan.schedule.kind === 'sweep') return { ...state, stopRequested: true };
  return { ...state, stopRequested: true, givingUp: messageOf(state, problem) };
}

/** The problem and what to do. Unless a setting changes, the first step after the saved state has the same gradient again. */
function messageOf({ plan, step, checkpointStep }: RunState, problem: string): string {
  const advice = adviceFor(plan, step + 1);
  if (step === 0) return `${problem}, expected a finite number: training has diverged. Use ${advice}`;
  const before =
    checkpointStep > 0 && checkpointStep < step ? `the checkpoint of step ${checkpointStep}` : 'an earlier checkpoint';
  return `${problem}, expected a finite number: training has diverged. The state of step ${step} is saved. Resume with ${advice}; if that fails again, remove this checkpoint and resume from ${before}`;
}

/** Settings that would change a step and are not already so. @param step the one that failed */
export function adviceFor({ schedule, gradClip, precision }: DivergencePlan, step: number): string {
  const { learningRate, warmupSteps } = schedule;
  const known = [
    precision === 'float32' ? '' : `engine.precision=float32 (it is ${precision})`,
    `a lower schedule.learningRate (it is ${learningRate})`,
    // Long after the warm-up, changing it has no effect.
    step <= 2 * Math.max(warmupSteps, 100) ? `a longer schedule.warmupSteps (it is ${warmupSteps})` : '',
    gradClip === 0 ? 'optimizer.gradClip=1 (it is 0, which clips nothing)' : '',
    gradClip > 1 ? `a smaller optimizer.gradClip (it is ${gradClip})` : '',
  ].filter((text) => text !== '');
  const last = known.pop()!;
  return known.length === 0 ? last : `${known.join(', ')} or ${last}`;
}
