/** The most likely answers of a model to prompts: continuations, or the targets of sources. */
import type { Answer } from '../task/exactMatch.ts';
import type { LoadedModel } from './loadModel.ts';
import { inputOf } from './modelInput.ts';
import { TextBatch } from './textBatch.ts';

/** Answers that are generated at once: each has its own key-value cache. */
const together = 16;

export interface AnswersOptions {
  readonly loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;
  readonly endTokens: readonly number[];
  /** Number of tokens after which an answer ends. Default: where the context is full. */
  readonly maxTokens?: number | undefined;
  /** Called with the number of answers that ended since the last call. */
  readonly onDone: (count: number) => void;
}

/** An answer ends with one of the end tokens, or where the context is full. Its text does not depend on the other prompts. */
export async function answersTo(
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
