/** Classifies and scores texts with a loaded model. Each text has the numbers that it has alone, up to rounding: padding changes nothing. */
import { labelsOf } from '../architecture/registry.ts';
import { tokenActivations } from '../architecture/work.ts';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { logitsAtTargets } from '../model/objectives/classes.ts';
import { tokenProbabilities } from '../model/sampling.ts';
import { Tape } from '../model/tape.ts';
import { labelledSample } from '../task/classify.ts';
import { tokenSampleFields } from '../task/nextToken.ts';
import { collate, longestOf, type Sample, type SampleField } from '../task/task.ts';
import { textTokens } from '../task/textTokens.ts';
import type { LoadedModel } from './loadModel.ts';

/** The classes of a text. */
export interface Classification {
  /** The most probable class. */
  readonly label: string;
  /** The probability of each class, in the model's order. */
  readonly probabilities: Readonly<Record<string, number>>;
}

/** What happens to a text that is longer than the model's context: `truncate` classifies its beginning. */
export const tooLongTexts = ['error', 'truncate'] as const;
export type TooLongTexts = (typeof tooLongTexts)[number];

export interface ClassifyTextsOptions {
  /** Default `error`. */
  readonly tooLong?: TooLongTexts;
  /** The setting that shortens texts, for messages. */
  readonly cure: string;
  /** The place of each text in messages. Default: its number. */
  readonly places?: readonly string[];
  /** Told how many texts were shortened, if any. */
  readonly onShortened?: (count: number) => void;
}

const rowsMax = 64;
const activationsMax = 2 ** 28;

/** @throws UserError for a model without classes, and for a text that is empty, too long, or has characters outside the vocabulary */
export async function classifyTexts(
  loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>,
  texts: readonly string[],
  { tooLong = 'error', cure, places, onShortened }: ClassifyTextsOptions,
): Promise<Classification[]> {
  const { tokenizer, model } = loaded;
  const labels = labelsOf(model.config);
  if (labels.length < 2)
    throw new UserError(`the model ${classesProblem(labels)}: expected one with at least two classes`);
  const { blockSize } = model.config;
  let shortened = 0;
  const samples = texts.map((text, index) => {
    const tokens = textTokens(tokenizer, text);
    const at = places?.[index] ?? (texts.length === 1 ? 'the text' : `text ${index + 1}`);
    if (tokens.length === (tokenizer.beginTokens ?? []).length)
      throw new UserError(`${at} is empty: expected at least one character`);
    if (tokens.length <= blockSize) return labelledSample(tokens, 0);
    if (tooLong === 'error') {
      const found = `${at} has ${grouped(tokens.length)} tokens, but the model reads at most ${grouped(blockSize)}`;
      throw new UserError(`${found}: shorten it, or set ${cure} to classify its beginning`);
    }
    shortened++;
    // As rows are in training.
    return labelledSample(tokens.slice(0, blockSize), 0);
  });
  if (shortened > 0) onShortened?.(shortened);
  const classified: Classification[] = [];
  for await (const logits of logitsOf(loaded, samples)) {
    const probabilities = tokenProbabilities(logits, { temperature: 1, topK: 0, topP: 1 });
    const most = probabilities.indexOf(Math.max(...probabilities));
    classified.push({
      label: labels[most]!,
      probabilities: Object.fromEntries(labels.map((label, k) => [label, probabilities[k]!])),
    });
  }
  return classified;
}

/** Why a model has no classes, after "the model". */
function classesProblem(labels: readonly string[]): string {
  return labels.length === 0 ? 'is a language model' : `scores texts (${labels[0]})`;
}

/** The logits [K] at the target of each sample. */
export async function* logitsOf(
  { engine, model }: Pick<LoadedModel, 'engine' | 'model'>,
  samples: readonly Sample[],
): AsyncGenerator<Float32Array, void, undefined> {
  for (const batch of evaluationBatches(model.config, tokenSampleFields, samples)) {
    const tape = new Tape(engine);
    try {
      for (const { logits } of await logitsAtTargets(tape, model, batch)) yield logits;
    } finally {
      tape.discard();
    }
  }
}

/** The samples in batches that fit in memory, each as long as its longest sample. */
export function* evaluationBatches(
  model: LoadedModel['model']['config'],
  fields: Readonly<Record<string, SampleField>>,
  samples: readonly Sample[],
) {
  const tokensMax = activationsMax / tokenActivations(model) / 2; // a sample may be a pair
  for (let from = 0; from < samples.length; ) {
    let [count, length] = [0, 0];
    while (count < rowsMax && from + count < samples.length) {
      const longest = Math.max(length, ...Object.values(samples[from + count]!).map((values) => values.length));
      if (count > 0 && (count + 1) * longest > tokensMax) break;
      [count, length] = [count + 1, longest];
    }
    const some = samples.slice(from, from + count);
    yield collate(fields, some, longestOf(fields, some));
    from += count;
  }
}
