/** What the evaluations of a run say together: which was the best, and whether it is time to stop. Pure. */
import { grouped } from '../../base/numberText.ts';

/** The mean validation loss, in nats, after so many updates. */
export interface EvaluatedLoss {
  readonly step: number;
  readonly loss: number;
}

/** After so many evaluations without a lower loss the validation loss has turned, and a user is told. */
export const turnedAfter = 3;

/** The lowest loss; of equal ones the earliest. Undefined where no loss is a number. */
export function bestOf(evaluations: readonly EvaluatedLoss[]): EvaluatedLoss | undefined {
  let best: EvaluatedLoss | undefined;
  for (const each of evaluations) if (each.loss < (best?.loss ?? Number.POSITIVE_INFINITY)) best = each;
  return best;
}

/** How many evaluations came after the best; all of them where none is. */
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
  return `the validation loss has not fallen in ${since} evaluation${since === 1 ? '' : 's'}: it ${lowest}`;
}
