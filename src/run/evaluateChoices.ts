/** Multiple choice by likelihood: the log probability of each ending after its context under a language model. */
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { nextToken } from '../model/objectives/nextToken.ts';
import { checkObjective } from '../model/objectives/objective.ts';
import { type Choice, type ChoiceMeasures, choiceMeasures, continuations, parseChoice } from '../task/choices.ts';
import { tokenSampleFields } from '../task/nextToken.ts';
import type { PlacedRow } from '../task/rows.ts';
import { placed } from '../task/sft.ts';
import { textTokens } from '../task/textTokens.ts';
import { evaluationBatches } from './classifyTexts.ts';
import { type Evaluator, ownEvaluator, partsOf } from './evaluationParts.ts';
import type { LoadedModel } from './loadModel.ts';

/** The measures of a language model. */
export interface ChoicesEvaluation extends ChoiceMeasures {
  /** Number of rows whose context lost its beginning, because the model cannot read all of it. */
  readonly shortened: number;
}

interface EndingSample {
  readonly tokens: readonly number[];
  /** -1 in the context. */
  readonly targets: readonly number[];
  readonly isShortened: boolean;
}

type Loaded = Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;

/**
 * @param onProgress called with the share of endings that are done
 * @param evaluator who computes them; default: this process
 * @throws UserError for a model with labels, and for rows that are invalid or whose endings are longer than the model's context
 */
export async function evaluateChoices(
  loaded: Loaded,
  rows: readonly PlacedRow[],
  onProgress: (done: number) => void,
  evaluator: Evaluator = ownEvaluator(loaded),
): Promise<ChoicesEvaluation> {
  checkObjective(nextToken, loaded.model.config);
  const choices = rows.map(({ row, at }) => parseChoice(row, at));
  const samples = choices.map((choice) => samplesOf(choice, loaded));
  const logprobs = await logprobsOf(samples.flat(), { loaded, evaluator, onProgress });
  const ofRows: Float64Array[] = [];
  for (let [i, from] = [0, 0]; i < samples.length; from += samples[i++]!.length) {
    ofRows.push(logprobs.subarray(from, from + samples[i]!.length));
  }
  const shortened = samples.filter((each) => each.some(({ isShortened }) => isShortened)).length;
  return { ...choiceMeasures(choices, ofRows), shortened };
}

/** The context and each ending are encoded one by one, so that the border between them is a token border. */
function samplesOf(choice: Choice, { tokenizer, model }: Loaded): EndingSample[] {
  const { at, context } = choice;
  const { blockSize } = model.config;
  const before = placed(at, () => textTokens(tokenizer, context));
  return continuations(choice).map((text, index) => {
    const ending = placed(at, () => Array.from(tokenizer.encode(text)));
    if (ending.length > blockSize) {
      throw new UserError(
        `${at}: endings[${index}] has ${grouped(ending.length)} tokens, but the model reads at most ${grouped(blockSize)}. Shorten or remove it.`,
      );
    }
    const kept = before.slice(-(blockSize + 1 - ending.length));
    const targets = [...kept.slice(1).fill(-1), ...ending];
    return { tokens: [...kept, ...ending.slice(0, -1)], targets, isShortened: kept.length < before.length };
  });
}

/** The log probability of the targets of each sample, summed. */
async function logprobsOf(
  samples: readonly EndingSample[],
  {
    loaded: { model },
    evaluator,
    onProgress,
  }: {
    readonly loaded: Loaded;
    readonly evaluator: Evaluator;
    readonly onProgress: (done: number) => void;
  },
): Promise<Float64Array> {
  const logprobs = new Float64Array(samples.length);
  // Samples of similar lengths need little padding.
  const order = [...samples.keys()].sort((a, b) => samples[b]!.tokens.length - samples[a]!.tokens.length || a - b);
  const sorted = order.map((index) => ({ tokens: samples[index]!.tokens, targets: samples[index]!.targets }));
  let [done, at] = [0, 0];
  const parts = partsOf('targets', evaluationBatches(model.config, tokenSampleFields, sorted));
  const onDone = (count: number): void => {
    done += count;
    onProgress(done / samples.length);
  };
  for await (const ofPart of evaluator.compute(parts, onDone)) {
    for (const logprob of ofPart) logprobs[order[at++]!] = logprob;
  }
  return logprobs;
}
