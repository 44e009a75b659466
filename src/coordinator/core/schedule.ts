/** The learning rate at each step: a pure function. */

/** The curve of the learning rate over a run: the `schedule` group of a config. */
export interface Schedule {
  /** Half a cosine down, or level after the warm-up. */
  readonly kind: 'cosine' | 'constant';
  /** The highest rate, reached after the warm-up. */
  readonly learningRate: number;
  /** Where the cosine ends; unused by `constant`. */
  readonly minLearningRate: number;
  /** Steps of linear warm-up; 0 for none. */
  readonly warmupSteps: number;
  /** The step at which the cosine reaches `minLearningRate`, counted from the start of the run. */
  readonly decaySteps: number;
}

/**
 * The learning rate of `step`, the first step being 0: linear warm-up, then half a cosine down to `minLearningRate` at
 * `decaySteps`, then level, as nanoGPT's train.py has it (https://github.com/karpathy/nanoGPT).
 */
export function learningRateAt(step: number, schedule: Schedule): number {
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
