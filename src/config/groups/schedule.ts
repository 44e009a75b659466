/** The group `schedule` of a config: the learning rate over the run. */
import { z } from 'zod';
import { choice, real, whole } from '../../base/keyTypes.ts';

export const schedule = z
  .strictObject({
    kind: choice(['cosine', 'constant'], { default: 'cosine', doc: 'Shape of the learning rate after warm-up.' }),
    learningRate: real({ default: 1e-3, min: 0, max: 100, doc: 'Peak learning rate.' }),
    minLearningRate: real({ default: 1e-4, min: 0, max: 100, doc: 'Learning rate at and after decaySteps (cosine).' }),
    warmupSteps: whole({ default: 100, doc: 'Steps over which the learning rate rises linearly from 0.' }),
    decaySteps: whole({ default: 0, doc: 'Step at which the cosine decay ends; 0 means train.maxSteps.' }),
  })
  .meta({ description: 'The learning rate over the run.' });
