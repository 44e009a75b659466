/** The classes of a head in `config.json` of Hugging Face's `...ForSequenceClassification`, whose head is `score`. */
import { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { labelsMax } from '../base/labelLimits.ts';
import { damaged } from '../base/strictJson.ts';

/** The keys that describe them. */
export const labelFields = {
  id2label: z.record(z.string(), z.string()).optional(),
  num_labels: z.number().int().min(1).max(labelsMax).optional(),
  problem_type: z.string().nullish(),
};

type LabelFields = z.output<z.ZodObject<typeof labelFields>>;

/**
 * transformers takes the logits at the last token that is not `pad_token_id`, so this must not be the last token of a text. A classified
 * text does not contain the end-of-text token, but one that is scored ends with it: null then allows only one text at a time.
 */
export function encodeLabels(labels: readonly string[], endOfText: number | undefined): Record<string, unknown> {
  return {
    id2label: Object.fromEntries(labels.map((label, id) => [id, label])),
    label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
    pad_token_id: (labels.length > 1 ? endOfText : undefined) ?? null,
  };
}

/**
 * The names of the classes; without names those of transformers, which has two by default.
 * @throws UserError for several labels per text
 */
export function decodeLabels(
  { id2label, num_labels: count = 2, problem_type: problem }: LabelFields,
  path: string,
): string[] {
  if (problem === 'multi_label_classification') {
    throw new UserError(
      `${path}: problem_type is "${problem}", which is not supported: expected single_label_classification, one label per text`,
    );
  }
  if (id2label === undefined) return Array.from({ length: count }, (_, id) => `LABEL_${id}`);
  const labels = Object.keys(id2label).map((_, id) => id2label[id]);
  if (labels.includes(undefined)) throw damaged(path, 'the keys of id2label are not the numbers from 0');
  return labels as string[];
}
