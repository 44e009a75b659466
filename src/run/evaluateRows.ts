/** Evaluates a model over rows, as its run evaluates them. */
import { labelsOf } from '../architecture/registry.ts';
import { meansOf, type Sums } from '../base/sums.ts';
import { evaluateBatches } from '../model/evaluation.ts';
import { tokenLogprobs } from '../model/logprobs.ts';
import { pairLogprobs } from '../model/objectives/dpo.ts';
import { nextToken } from '../model/objectives/nextToken.ts';
import type { Objective } from '../model/objectives/objective.ts';
import { reward } from '../model/objectives/reward.ts';
import { Tape } from '../model/tape.ts';
import { type Classified, classMeasures, noConfusion } from '../task/classMeasures.ts';
import { lossAndPerplexity } from '../task/textMeasures.ts';
import { evaluationBatches, logitsOf } from './classifyTexts.ts';
import type { LoadedModel } from './loadModel.ts';
import { openRowsToEvaluate, type RowsToEvaluate, type RowsToEvaluateOptions } from './rowsToEvaluate.ts';

export interface EvaluateRowsOptions extends RowsToEvaluateOptions {
  readonly onProgress: (done: number) => void;
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
  const { onProgress } = options;
  switch (rows.kind) {
    case 'classify':
      return evaluateClasses(loaded, rows, onProgress);
    case 'dpo':
      return evaluatePreferences(loaded, rows, onProgress);
    case 'reward': {
      const { loss, others } = meansOf(await sumsOver(loaded, rows, { objective: reward, onProgress }));
      const { accuracy = 0, margin = 0 } = others as { accuracy?: number; margin?: number };
      return { rows: rows.samples.length, loss, accuracy, margin };
    }
    case 'lm':
    case 'sft':
    case 'grpo':
    case 'ppo': {
      const sums = await sumsOver(loaded, rows, { objective: nextToken, onProgress });
      return { rows: rows.samples.length, ...lossAndPerplexity(sums), targets: sums.weight };
    }
    default:
      return rows.kind satisfies never;
  }
}

/** The sums of an objective over all samples. */
function sumsOver(
  loaded: LoadedModel,
  { form, samples }: RowsToEvaluate,
  { objective, onProgress }: { readonly objective: Objective; readonly onProgress: (done: number) => void },
): Promise<Sums> {
  let done = 0;
  const batches = evaluationBatches(loaded.model.config, form.fields, samples);
  return evaluateBatches({ ...loaded, objective }, batches, ({ sampleCount }) => {
    done += sampleCount;
    onProgress(done / samples.length);
  });
}

async function evaluateClasses(
  loaded: LoadedModel,
  { samples }: RowsToEvaluate,
  onProgress: (done: number) => void,
): Promise<ClassesEvaluation> {
  const labels = labelsOf(loaded.model.config);
  const confusion = noConfusion(labels.length);
  let [loss, done] = [0, 0];
  for await (const logits of logitsOf(loaded, samples)) {
    const target = Array.from(samples[done++]!['targets']!).find((value) => value >= 0)!;
    const { logprob, top } = tokenLogprobs(logits, target, 1);
    loss -= logprob;
    confusion[target]![top[0]!.token]!++;
    onProgress(done / samples.length);
  }
  return { rows: samples.length, loss: loss / samples.length, ...classMeasures(confusion, labels) };
}

async function evaluatePreferences(
  { engine, model }: LoadedModel,
  { form, samples }: RowsToEvaluate,
  onProgress: (done: number) => void,
): Promise<PreferencesEvaluation> {
  const rows = samples.length;
  let [right, chosenLogprob, rejectedLogprob, done] = [0, 0, 0, 0];
  for (const batch of evaluationBatches(model.config, form.fields, samples)) {
    const tape = new Tape(engine);
    try {
      const logprobs = await pairLogprobs(tape, model, batch);
      for (let pair = 0; pair < batch.sampleCount; pair++) {
        const [chosen, rejected] = [logprobs[2 * pair]!, logprobs[2 * pair + 1]!];
        if (chosen > rejected) right++;
        chosenLogprob += chosen / rows;
        rejectedLogprob += rejected / rows;
      }
    } finally {
      tape.discard();
    }
    done += batch.sampleCount;
    onProgress(done / rows);
  }
  return { rows, accuracy: right / rows, chosenLogprob, rejectedLogprob };
}
