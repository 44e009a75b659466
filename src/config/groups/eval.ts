/** The group `eval` of a config: estimates of the validation loss during training. */
import { z } from 'zod';
import { whole } from '../../base/keyTypes.ts';

export const evaluation = z
  .strictObject({
    everySteps: whole({ default: 250, doc: 'Steps between estimates of the validation loss; 0 disables them.' }),
    batches: whole({
      default: 20,
      doc: 'Batches of microBatchSize sequences per estimate, spread over the validation split; 0 uses the full split.',
    }),
    stopAfter: whole({
      default: 0,
      doc: 'Early stopping: end the run after this many consecutive estimates without a lower validation loss. Each new best model is saved, as with checkpoint.best. 0 trains to the last step.',
    }),
  })
  .meta({ description: 'Validation during training. `launch eval` always uses the full split.' });
