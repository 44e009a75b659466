/** Which iterations a run that writes its own samples has, and which it needs. Pure, a part of decide.ts. */
import type { RolloutPhase, RunState } from './runState.ts';

/** The iteration of the step after `step` updates; the first is 1. */
export function iterationAfter(step: number, stepsPerIteration: number): number {
  return Math.floor(step / stepsPerIteration) + 1;
}

/** The last step whose samples are known; infinite if the run writes none. */
export function samplesThrough({ plan: { rollouts }, iterations }: RunState): number {
  if (rollouts === undefined) return Number.POSITIVE_INFINITY;
  return (iterations.at(-1)?.iteration ?? 0) * rollouts.stepsPerIteration;
}

/** Whether the next step's samples do not exist yet. */
export function needsRollouts({ plan: { rollouts }, iterations, step }: RunState): boolean {
  if (rollouts === undefined) return false;
  const next = iterationAfter(step, rollouts.stepsPerIteration);
  return !iterations.some(({ iteration }) => iteration === next);
}

/** The number of finished parts of the iteration that begins after the committed step. */
export function partsDone(state: RunState): number {
  return phaseOf(state)?.done.length ?? 0;
}

/** What a return to the checkpoint of `step` leaves of the iterations: those that had begun by then. */
export function iterationsAt({ plan: { rollouts }, iterations }: RunState, step: number): RunState['iterations'] {
  if (rollouts === undefined) return iterations;
  return iterations.filter(({ iteration }) => (iteration - 1) * rollouts.stepsPerIteration < step);
}

/** That of the committed state; another state writes other rollouts. */
export function phaseOf({ rollout, step, committedTerm }: RunState): RolloutPhase | undefined {
  return rollout?.step === step && rollout.committedTerm === committedTerm ? rollout : undefined;
}
