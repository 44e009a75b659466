/** The learning rate of each step: a pure function. */
import { checkOptionNames, type OptionNames } from '../../base/optionNames.ts';

/** The learning-rate curve of a run: the `schedule` group of a config. */
export interface Schedule {
  /** Half a cosine from the maximum to the minimum, or constant after the warm-up. */
  readonly kind: 'cosine' | 'constant';
  /** The maximum, reached at the end of the warm-up. */
  readonly learningRate: number;
  /** The end of the cosine; unused by `constant`. */
  readonly minLearningRate: number;
  /** Number of linear warm-up steps; 0 for none. */
  readonly warmupSteps: number;
  /** The step at which the cosine reaches `minLearningRate`, counted from the start of the run. */
  readonly decaySteps: number;
}

const scheduleNames = {
  kind: true,
  learningRate: true,
  minLearningRate: true,
  warmupSteps: true,
  decaySteps: true,
} satisfies OptionNames<Schedule>;

/**
 * The learning rate of `step`, counted from 0: linear warm-up, then half a cosine down to `minLearningRate` at
 * `decaySteps`, then constant, like nanoGPT's train.py (https://github.com/karpathy/nanoGPT).
 * UserError for an unknown key of the schedule.
 */
export function learningRateAt(step: number, schedule: Schedule): number {
  checkOptionNames("learningRateAt's schedule", schedule, scheduleNames);
  const { learningRate, minLearningRate, warmupSteps, decaySteps } = schedule;
  if (step < warmupSteps) return (learningRate * (step + 1)) / (warmupSteps + 1);
  switch (schedule.kind) {
    case 'constant':
      return learningRate;
    case 'cosine': {
      if (step >= decaySteps) return minLearningRate;
      const progress = (step - warmupSteps) / (decaySteps - warmupSteps);
      const weight = 0.5 * (1 + Math.cos(Math.PI * progress));
      return minLearningRate + weight * (learningRate - minLearningRate);
    }
    default:
      return schedule.kind satisfies never;
  }
}
