/** Evaluates a model over rows, as its run evaluates them. */
import { labelsOf } from '../architecture/registry.ts';
import { meansOf, type Sums } from '../base/sums.ts';
import { tokenLogprobs } from '../model/logprobs.ts';
import { type Classified, classMeasures, noConfusion } from '../task/classMeasures.ts';
import { lossAndPerplexity } from '../task/textMeasures.ts';
import { evaluationBatches } from './classifyTexts.ts';
import {
  addedSums,
  type Evaluator,
  type OnDone,
  ownEvaluator,
  partsOf,
  type SummedObjective,
} from './evaluationParts.ts';
import type { LoadedModel } from './loadModel.ts';
import { openRowsToEvaluate, type RowsToEvaluate, type RowsToEvaluateOptions } from './rowsToEvaluate.ts';

export interface EvaluateRowsOptions extends RowsToEvaluateOptions {
  readonly onProgress: (done: number) => void;
  /** Who computes. Default: this process. */
  readonly evaluator?: Evaluator | undefined;
}

interface Evaluating {
  readonly loaded: LoadedModel;
  readonly rows: RowsToEvaluate;
  readonly evaluator: Evaluator;
  /** Called with the number of samples that were done since the last call. */
  readonly onDone: OnDone;
}

/** The measures of a classifier. */
export interface ClassesEvaluation extends Classified {
  readonly rows: number;
  /** Mean cross entropy in nats. */
  readonly loss: number;
}

/** The measures of a reward model. */
export interface PairsEvaluation {
  readonly rows: number;
  /** Mean of -log σ(margin), in nats. */
  readonly loss: number;
  /** Fraction of pairs whose chosen answer has the higher score. */
  readonly accuracy: number;
  /** Mean difference of the scores. */
  readonly margin: number;
}

/** The measures of a language model over its answers, or over texts. */
export interface AnswersEvaluation {
  readonly rows: number;
  /** Mean cross entropy of the targets in nats. */
  readonly loss: number;
  readonly perplexity: number;
  /** Number of tokens that were predicted. */
  readonly targets: number;
}

/** How probable the answers of pairs are for a model itself, without the reference that it was trained with. */
export interface PreferencesEvaluation {
  readonly rows: number;
  /** Fraction of pairs whose chosen answer is more probable than the rejected one. */
  readonly accuracy: number;
  /** Mean log probability of the chosen answers, and of the rejected ones: sums over their tokens, in nats. */
  readonly chosenLogprob: number;
  readonly rejectedLogprob: number;
}

export type RowsEvaluation = ClassesEvaluation | PairsEvaluation | AnswersEvaluation | PreferencesEvaluation;

/** @throws UserError for a model of text, and for rows that are missing or do not fit the model */
export async function evaluateRows(loaded: LoadedModel, options: EvaluateRowsOptions): Promise<RowsEvaluation> {
  const rows = await openRowsToEvaluate(loaded, options);
  const { onProgress, evaluator = ownEvaluator(loaded) } = options;
  let done = 0;
  const onDone = (count: number): void => {
    done += count;
    onProgress(done / rows.samples.length);
  };
  const evaluating = { loaded, rows, evaluator, onDone };
  switch (rows.kind) {
    case 'classify':
      return evaluateClasses(evaluating);
    case 'dpo':
      return evaluatePreferences(evaluating);
    case 'reward': {
      const { loss, others } = meansOf(await sumsOver('reward', evaluating));
      const { accuracy = 0, margin = 0 } = others as { accuracy?: number; margin?: number };
      return { rows: rows.samples.length, loss, accuracy, margin };
    }
    case 'lm':
    case 'sft':
    case 'seq2seq':
    case 'grpo':
    case 'ppo': {
      const sums = await sumsOver(rows.kind === 'seq2seq' ? 'seq2seq' : 'next-token', evaluating);
      return { rows: rows.samples.length, ...lossAndPerplexity(sums), targets: sums.weight };
    }
    default:
      return rows.kind satisfies never;
  }
}

function batchesOf({ loaded, rows: { form, samples } }: Evaluating) {
  return evaluationBatches(loaded.model.config, form.fields, samples);
}

/** The sums of an objective over all samples. */
async function sumsOver(objective: SummedObjective, evaluating: Evaluating): Promise<Sums> {
  const { loaded, evaluator, onDone } = evaluating;
  return addedSums(evaluator, { loaded, objective, batches: batchesOf(evaluating), onDone });
}

async function evaluateClasses(evaluating: Evaluating): Promise<ClassesEvaluation> {
  const { loaded, rows, evaluator, onDone } = evaluating;
  const { samples } = rows;
  const labels = labelsOf(loaded.model.config);
  const confusion = noConfusion(labels.length);
  let [loss, at] = [0, 0];
  for await (const ofPart of evaluator.compute(partsOf('logits', batchesOf(evaluating)), onDone)) {
    for (const logits of ofPart) {
      const target = Array.from(samples[at++]!['targets']!).find((value) => value >= 0)!;
      const { logprob, top } = tokenLogprobs(logits, target, 1);
      loss -= logprob;
      confusion[target]![top[0]!.token]!++;
    }
  }
  return { rows: samples.length, loss: loss / samples.length, ...classMeasures(confusion, labels) };
}

async function evaluatePreferences(evaluating: Evaluating): Promise<PreferencesEvaluation> {
  const { evaluator, onDone } = evaluating;
  const rows = evaluating.rows.samples.length;
  let [right, chosenLogprob, rejectedLogprob] = [0, 0, 0];
  for await (const logprobs of evaluator.compute(partsOf('pairs', batchesOf(evaluating)), onDone)) {
    for (let pair = 0; 2 * pair < logprobs.length; pair++) {
      const [chosen, rejected] = [logprobs[2 * pair]!, logprobs[2 * pair + 1]!];
      if (chosen > rejected) right++;
      chosenLogprob += chosen / rows;
      rejectedLogprob += rejected / rows;
    }
  }
  return { rows, accuracy: right / rows, chosenLogprob, rejectedLogprob };
}
