/** The group `model` of a config: where the parameters come from, and the keys of the architecture (architecture/registry.ts). */
import { z } from 'zod';
import { keysOfEach, type ModelConfig } from '../../architecture/registry.ts';
import { pathMax } from '../../base/keyTypes.ts';

const from = z.string().max(pathMax).default('').meta({
  description:
    "Weights to begin with instead of random ones: a run directory, a checkpoint, or a folder of GPT-2 weights as Hugging Face's transformers saves it, relative to the working folder. Sizes and tokenizer come from it, and keys that contradict it are errors. Steps, schedule and optimizer begin anew.",
  expects: 'a path, or "" for random weights',
});

/** The keys that the group has whatever the architecture. */
export const modelSourceKeys = z.strictObject({ from });

const [first, ...others] = keysOfEach;

export const model = z
  .discriminatedUnion('architecture', [first.extend({ from }), ...others.map((keys) => keys.extend({ from }))])
  .meta({ description: 'The network.' });

/** The model of the group's keys. @param vocabSize rows of the token embedding, which the config may leave to the data */
export function modelOf<Keys extends ModelConfig & { readonly from: string }>(
  { from: _, ...sizes }: Keys,
  vocabSize: number,
): ModelConfig {
  return { ...(sizes as ModelConfig), vocabSize };
}
