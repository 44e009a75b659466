/** The group `checkpoint` of a config: when the run is saved. */
import { z } from 'zod';
import { flag, whole } from '../../base/keyTypes.ts';

export const checkpoint = z
  .strictObject({
    everySteps: whole({
      default: 500,
      doc: 'Steps between checkpoints; one is always written at the end. 0 writes that one only.',
    }),
    keep: whole({
      default: 3,
      min: 1,
      max: 10_000,
      doc: 'Newest checkpoints that stay on disk; the best by validation loss stays as well.',
    }),
    best: flag({
      default: false,
      doc: 'Whether a checkpoint is also written after each estimate of the validation loss that is the lowest so far.',
    }),
  })
  .meta({ description: 'Saving the run.' });
