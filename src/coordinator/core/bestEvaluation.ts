/** Conclusions from all evaluations of a run: which was the best, whether to stop, and whether one is missing. Pure. */
import { countOf, grouped } from '../../base/numberText.ts';

/** The mean validation loss, in nats, after `step` updates. */
export interface EvaluatedLoss {
  readonly step: number;
  readonly loss: number;
}

/** Number of evaluations without a lower loss after which the user is warned that the validation loss has turned. */
export const turnedAfter = 3;

/** The lowest loss, and the earliest of equal ones. Undefined if no loss is a number. */
export function bestOf(evaluations: readonly EvaluatedLoss[]): EvaluatedLoss | undefined {
  let best: EvaluatedLoss | undefined;
  for (const each of evaluations) if (each.loss < (best?.loss ?? Number.POSITIVE_INFINITY)) best = each;
  return best;
}

/** Number of evaluations after the best; all of them if there is no best. */
export function evaluationsSinceBest(evaluations: readonly EvaluatedLoss[]): number {
  const best = bestOf(evaluations);
  return best === undefined ? evaluations.length : evaluations.length - 1 - evaluations.indexOf(best);
}

/** `the validation loss has not fallen in 3 evaluations: it was lowest, 2.4586, at step 700, and is 2.5576`. */
export function describeTurn(evaluations: readonly EvaluatedLoss[]): string {
  const since = evaluationsSinceBest(evaluations);
  const [best, last] = [bestOf(evaluations), evaluations.at(-1)];
  const now = `is ${last?.loss.toFixed(4)}`;
  const lowest =
    best === undefined ? now : `was lowest, ${best.loss.toFixed(4)}, at step ${grouped(best.step)}, and ${now}`;
  return `the validation loss has not fallen in ${countOf(since, 'evaluation')}: it ${lowest}`;
}

/**
 * Whether an evaluation after `step` belongs to the run, because it is due or because this is the last step, and is not among the
 * evaluations so far. A run that was asked to end saves its state without it; the resumed run begins with it.
 */
export function lacksEvaluation(
  { evalEverySteps, maxSteps }: { readonly evalEverySteps: number; readonly maxSteps: number },
  step: number,
  evaluations: readonly EvaluatedLoss[],
): boolean {
  if (evalEverySteps === 0 || (step < maxSteps && step % evalEverySteps !== 0)) return false;
  return !evaluations.some((evaluated) => evaluated.step === step);
}

/** The newest step of which the run at `step` has every evaluation, if it had those before. */
export function evaluatedThrough(
  plan: Parameters<typeof lacksEvaluation>[0] & { readonly startsFromCheckpoint: boolean },
  step: number,
  evaluations: readonly EvaluatedLoss[],
): number {
  // Random weights are not evaluated.
  const isBegun = step > 0 || plan.startsFromCheckpoint;
  return isBegun && lacksEvaluation(plan, step, evaluations) ? step - 1 : step;
}
