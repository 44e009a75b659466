/** The error for numbers of a run that are not finite, wherever they are detected first. */
import { UserError } from '../base/errors.ts';

/** @param what names the number, as in `the loss of step 7` */
export function checkFinite(what: string, value: number): void {
  if (Number.isFinite(value)) return;
  throw new UserError(
    `${what} is ${value}, expected a finite number: training has diverged. Use a lower schedule.learningRate, a longer ` +
      'schedule.warmupSteps or a smaller optimizer.gradClip',
  );
}
