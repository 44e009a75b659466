/** The group `eval` of a config: the estimates of the validation loss while it trains. */
import { z } from 'zod';
import { whole } from '../../base/keyTypes.ts';

export const evaluation = z
  .strictObject({
    everySteps: whole({ default: 250, doc: 'Steps between estimates of the validation loss; 0 never estimates it.' }),
    batches: whole({
      default: 20,
      doc: 'Batches of microBatchSize sequences, spread over the validation split, in one estimate; 0 takes the whole split.',
    }),
    stopAfter: whole({
      default: 0,
      doc: 'Early stopping: ends the run after this many validation estimates in a row without a lower loss. Each new best model is saved, as with checkpoint.best. 0 trains to the last step.',
    }),
  })
  .meta({ description: 'Validation while training. `launch eval` always uses the whole split.' });
