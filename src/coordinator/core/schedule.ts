/** The learning rate of each step: a pure function. */
import { checkOptionNames, type OptionNames } from '../../base/optionNames.ts';

/** The learning-rate curve of a run: the `schedule` group of a config. */
export interface Schedule {
  /** The shape after the warm-up; see {@link learningRateAt}. */
  readonly kind: 'cosine' | 'linear' | 'constant' | 'wsd' | 'inverseSqrt' | 'sweep';
  /** The maximum, reached at the end of the warm-up, or of the sweep. */
  readonly learningRate: number;
  /** The end of `cosine`, `linear` and `wsd`, and the beginning of `sweep`; unused by the others. */
  readonly minLearningRate: number;
  /** Number of linear warm-up steps; 0 for none. */
  readonly warmupSteps: number;
  /** The step at which `minLearningRate` is reached, or at which the sweep ends, counted from the start of the run. */
  readonly decaySteps: number;
  /** Number of steps of the decay of `wsd`. 0, the default: a fifth of `decaySteps`. */
  readonly cooldownSteps?: number;
}

const scheduleNames = {
  kind: true,
  learningRate: true,
  minLearningRate: true,
  warmupSteps: true,
  decaySteps: true,
  cooldownSteps: true,
} satisfies OptionNames<Schedule>;

/**
 * The learning rate of `step`, counted from 0. It begins with a linear warm-up, except for `sweep`. Then:
 *
 * - `cosine`: half a cosine down to `minLearningRate` at `decaySteps`, then constant, like nanoGPT's train.py
 *   (https://github.com/karpathy/nanoGPT);
 * - `linear`: the same as a straight line;
 * - `constant`: no change;
 * - `wsd`: constant, then a straight line down to `minLearningRate` in the last `cooldownSteps` before `decaySteps`;
 * - `inverseSqrt`: learningRate · min(n / warmupSteps, sqrt(warmupSteps / n)) for n = step + 1. It is the schedule of "Attention is all you
 *   need" for learningRate = (dModel · warmupSteps)^-0.5;
 * - `sweep`: minLearningRate · (learningRate / minLearningRate)^(step / (decaySteps - 1)), up to `learningRate`.
 *
 * UserError for an unknown key of the schedule.
 */
export function learningRateAt(step: number, schedule: Schedule): number {
  checkOptionNames("learningRateAt's schedule", schedule, scheduleNames);
  const { kind, learningRate, minLearningRate, warmupSteps, decaySteps } = schedule;
  if (kind === 'sweep') {
    const progress = decaySteps > 1 ? Math.min(step / (decaySteps - 1), 1) : 1;
    return progress === 1 ? learningRate : minLearningRate * (learningRate / minLearningRate) ** progress;
  }
  if (kind === 'inverseSqrt') {
    const warmup = Math.max(warmupSteps, 1);
    return learningRate * Math.min((step + 1) / warmup, Math.sqrt(warmup / (step + 1)));
  }
  if (step < warmupSteps) return (learningRate * (step + 1)) / (warmupSteps + 1);
  const between = (weight: number) => minLearningRate + weight * (learningRate - minLearningRate);
  switch (kind) {
    case 'constant':
      return learningRate;
    case 'cosine': {
      if (step >= decaySteps) return minLearningRate;
      const progress = (step - warmupSteps) / (decaySteps - warmupSteps);
      return between(0.5 * (1 + Math.cos(Math.PI * progress)));
    }
    case 'linear':
      if (step >= decaySteps) return minLearningRate;
      return between((decaySteps - step) / (decaySteps - warmupSteps));
    case 'wsd': {
      if (step >= decaySteps) return minLearningRate;
      const left = (decaySteps - step) / (schedule.cooldownSteps || Math.max(1, Math.round(decaySteps / 5)));
      return left >= 1 ? learningRate : between(left);
    }
    default:
      return kind satisfies never;
  }
}
