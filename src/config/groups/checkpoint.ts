/** The group `checkpoint` of a config: when the run is saved. */
import { z } from 'zod';
import { flag, whole } from '../../base/keyTypes.ts';

export const checkpoint = z
  .strictObject({
    everySteps: whole({
      default: 500,
      doc: 'Steps between checkpoints. One is always written at the end; 0 writes only that one.',
    }),
    keep: whole({
      default: 3,
      min: 1,
      max: 10_000,
      doc: 'Number of newest checkpoints to keep. The best by validation loss is kept as well.',
    }),
    best: flag({
      default: false,
      doc: 'Also write a checkpoint each time the validation loss reaches a new minimum.',
    }),
  })
  .meta({ description: 'Checkpoints: when they are written and how many are kept.' });
