/** The group `sample` of a config: the text that is printed when training ends. */
import { z } from 'zod';
import { real, string, whole } from '../../base/keyTypes.ts';

export const sample = z
  .strictObject({
    prompt: string({ default: '\n', max: 100_000, doc: 'Text that the sample printed at the end of a run continues.' }),
    maxTokens: whole({ default: 200, max: 1_000_000, doc: 'Tokens to generate; 0 prints no sample.' }),
    temperature: real({
      default: 0.8,
      min: 0,
      max: 100,
      doc: 'Below 1 likelier tokens, above 1 more variety; 0 always takes the likeliest.',
    }),
    topK: whole({ default: 200, doc: 'Draws from the K likeliest tokens only; 0 from all.' }),
    topP: real({
      default: 1,
      min: 0.0001,
      max: 1,
      doc: 'Draws from the likeliest tokens that together have this probability; 1 from all.',
    }),
  })
  .meta({ description: 'The text printed when training ends.' });
