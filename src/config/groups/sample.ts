/** The group `sample` of a config: the text that is printed when training ends. */
import { z } from 'zod';
import { real, string, whole } from '../../base/keyTypes.ts';

export const sample = z
  .strictObject({
    prompt: string({ default: '\n', max: 100_000, doc: 'Prompt of the sample that is printed when training ends.' }),
    maxTokens: whole({ default: 200, max: 1_000_000, doc: 'Tokens to generate; 0 prints no sample.' }),
    temperature: real({
      default: 0.8,
      min: 0,
      max: 100,
      doc: 'Values below 1 favour likely tokens, values above 1 add variety; 0 always takes the most likely token.',
    }),
    topK: whole({ default: 200, doc: 'Sample from the K most likely tokens; 0 uses all tokens.' }),
    topP: real({
      default: 1,
      min: 0.0001,
      max: 1,
      doc: 'Sample from the most likely tokens that together have this probability; 1 uses all tokens.',
    }),
  })
  .meta({ description: 'The text printed when training ends.' });
