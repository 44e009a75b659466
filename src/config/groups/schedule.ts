/** The group `schedule` of a config: the learning rate over the run. */
import { z } from 'zod';
import { choice, real, whole } from '../../base/keyTypes.ts';

export const schedule = z
  .strictObject({
    kind: choice(['cosine', 'linear', 'constant', 'wsd', 'inverseSqrt', 'sweep'], {
      default: 'cosine',
      doc: 'Shape of the learning rate after warm-up. cosine, linear: it falls to minLearningRate at decaySteps. constant: it stays. wsd (warm-up, stable, decay): it stays, and falls linearly in the last cooldownSteps. inverseSqrt: it falls with the square root of the step, as in Vaswani et al. sweep, which finds a learning rate: it rises exponentially from minLearningRate to learningRate, and the run ends with a plot and a suggestion.',
    }),
    learningRate: real({ default: 1e-3, min: 0, max: 100, doc: 'Peak learning rate.' }),
    minLearningRate: real({
      default: 1e-4,
      min: 0,
      max: 100,
      doc: 'Learning rate at and after decaySteps (cosine, linear, wsd), or of the first step (sweep).',
    }),
    warmupSteps: whole({
      default: 100,
      doc: 'Steps over which the learning rate rises linearly from 0; unused by sweep.',
    }),
    decaySteps: whole({
      default: 0,
      doc: 'Step at which the decay (cosine, linear, wsd) or the sweep ends; 0 means train.maxSteps.',
    }),
    cooldownSteps: whole({
      default: 0,
      doc: 'Steps of the decay that ends at decaySteps (wsd); 0 means a fifth of decaySteps.',
    }),
  })
  .meta({ description: 'The learning rate over the run.' });
