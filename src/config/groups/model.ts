/** The group `model` of a config: the source of the parameters, and the keys of the architecture (architecture/registry.ts). */
import { z } from 'zod';
import { keysOfEach, type ModelConfig } from '../../architecture/registry.ts';
import { pathMax } from '../../base/keyTypes.ts';

const from = z.string().max(pathMax).default('').meta({
  description:
    "Initial weights, instead of random ones: a run directory, a checkpoint, or a folder of GPT-2 or Llama weights saved by Hugging Face's transformers, relative to the working folder. Sizes and tokenizer come from there, and keys that contradict them are errors; only blockSize is free if positions are not in a table. Steps, schedule and optimizer start from scratch.",
  expects: 'a path, or "" for random weights',
});

/** The keys that the group has for every architecture. */
export const modelSourceKeys = z.strictObject({ from });

const [first, ...others] = keysOfEach;

export const model = z
  .discriminatedUnion('architecture', [first.extend({ from }), ...others.map((keys) => keys.extend({ from }))])
  .meta({ description: 'The network.' });

/** The model that the group's keys describe. @param vocabSize rows of the token embedding, which the config may leave to the data */
export function modelOf<Keys extends ModelConfig & { readonly from: string }>(
  { from: _, ...sizes }: Keys,
  vocabSize: number,
): ModelConfig {
  return { ...(sizes as ModelConfig), vocabSize };
}
