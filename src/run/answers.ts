/** The most likely answers of a model to prompts: continuations, or the targets of sources. */
import { invariant } from '../base/errors.ts';
import { beamSearch } from '../model/beamSearch.ts';
import type { Answer } from '../task/exactMatch.ts';
import { sequenceEnds } from '../task/seq2seq.ts';
import type { LoadedModel } from './loadModel.ts';
import { inputOf } from './modelInput.ts';
import { TextBatch } from './textBatch.ts';

/** Answers that are generated at once: each has its own key-value cache. */
const together = 16;

/** How targets are searched for. */
export interface BeamOptions {
  /** Number of beginnings of a target that are continued at a time; 1 always takes the most likely token. */
  readonly beams: number;
  /** The score of a target is the sum of its log probabilities, divided by its length to this power: above 1 favours long ones. */
  readonly lengthPenalty: number;
}

/** Takes the most likely token every time. */
export const noBeams: BeamOptions = { beams: 1, lengthPenalty: 1 };

export interface AnswersOptions {
  readonly loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;
  readonly endTokens: readonly number[];
  /** For a model with an encoder. Default: the most likely token every time. */
  readonly beams?: BeamOptions | undefined;
  /** Number of tokens after which an answer ends. Default: where the context is full. */
  readonly maxTokens?: number | undefined;
  /** Called with the number of answers that ended since the last call. */
  readonly onDone: (count: number) => void;
}

/** An answer ends with one of the end tokens, or where the context is full. Its text does not depend on the other prompts. */
export async function answersTo(prompts: readonly (readonly number[])[], options: AnswersOptions): Promise<Answer[]> {
  const { beams = noBeams } = options;
  return beams.beams > 1 ? bySearch(prompts, { ...options, beams }) : greedily(prompts, options);
}

async function greedily(
  prompts: readonly (readonly number[])[],
  { loaded, endTokens, maxTokens: most = Number.POSITIVE_INFINITY, onDone }: AnswersOptions,
): Promise<Answer[]> {
  const { blockSize } = loaded.model.config;
  const batch = new TextBatch<number>(loaded);
  const texts = prompts.map(() => '');
  const answers: Answer[] = [];
  try {
    for (let [next, done] = [0, 0]; done < prompts.length; ) {
      for (; next < prompts.length && batch.size < together; next++) {
        const prompt = prompts[next]!;
        const before = inputOf(loaded, prompt).prompt.length;
        // A full context still predicts one more token.
        const maxTokens = Math.min(most, blockSize + 1 - before);
        batch.add(next, { prompt, maxTokens, endTokens, seed: 0, stop: [], temperature: 0, topK: 0, topP: 1 });
      }
      for (const { of: index, text, finish } of await batch.step()) {
        texts[index] += text;
        if (finish === undefined) continue;
        answers[index] = { text: texts[index]!, hasEnded: finish === 'stop' };
        done++;
        onDone(1);
      }
    }
    return answers;
  } finally {
    batch.release();
  }
}

/** One after another: the beginnings of one target are computed together. */
async function bySearch(
  prompts: readonly (readonly number[])[],
  { loaded, beams, maxTokens, onDone }: AnswersOptions & { readonly beams: BeamOptions },
): Promise<Answer[]> {
  const { engine, model, tokenizer } = loaded;
  const { blockSize } = model.config;
  const { end } = sequenceEnds(tokenizer);
  const answers: Answer[] = [];
  for (const prompt of prompts) {
    const {
      source,
      prompt: { 0: begin },
    } = inputOf(loaded, prompt);
    invariant(source !== undefined && begin !== undefined, 'a search is for targets of sources');
    const most = Math.min(maxTokens ?? blockSize, blockSize);
    const options = { source, begin, end, ...beams, maxTokens: most };
    const [best] = most > 0 ? await beamSearch(engine, model, options) : [];
    const tokens = best?.tokens ?? [];
    const hasEnded = tokens.at(-1) === end;
    answers.push({ text: tokenizer.decode(hasEnded ? tokens.slice(0, -1) : tokens), hasEnded });
    onDone(1);
  }
  return answers;
}
