/** Lets a language model answer the questions of rows, greedily, and measures its answers beside those of the rows. */
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { openTemplate, templateOf } from '../data/tokenizers/chatTemplate.ts';
import { ChatFormat } from '../task/chatFormat.ts';
import { type Answer, parseQuestion, type Question } from '../task/exactMatch.ts';
import type { PlacedRow } from '../task/rows.ts';
import type { LoadedModel } from './loadModel.ts';
import { TextBatch } from './textBatch.ts';

/** Answers that are generated at once: each has its own key-value cache. */
const together = 16;

export interface EvaluateAnswersOptions<Measured> {
  /** Measures the answers to the questions, in their order. */
  readonly measure: (questions: readonly Question[], answers: readonly Answer[]) => Measured;
  /** Absent: the one that came with the checkpoint. As `task.template`. */
  readonly template: string | undefined;
  /** Where the path of a template starts. */
  readonly cwd: string;
  /** Called with the share of questions that are answered. */
  readonly onProgress: (done: number) => void;
}

/**
 * An answer ends with its end token, or where the context is full.
 * @throws UserError for a model that generates no text, a missing template, and rows that are invalid or too long
 */
export async function evaluateAnswers<Measured>(
  loaded: Pick<LoadedModel, 'checkpoint' | 'engine' | 'model' | 'tokenizer'>,
  rows: readonly PlacedRow[],
  options: EvaluateAnswersOptions<Measured>,
): Promise<Measured> {
  const batch = new TextBatch<number>(loaded);
  try {
    const format = await formatOf(loaded, options);
    const questions = rows.map(({ row, at }) => parseQuestion(format, row, at));
    checkLengths(questions, loaded.model.config.blockSize);
    return options.measure(questions, await answersTo(questions, { batch, format, loaded, ...options }));
  } finally {
    batch.release();
  }
}

async function formatOf(
  { checkpoint, tokenizer }: Pick<LoadedModel, 'checkpoint' | 'tokenizer'>,
  { template, cwd }: Pick<EvaluateAnswersOptions<unknown>, 'template' | 'cwd'>,
): Promise<ChatFormat> {
  const chosen =
    template === undefined ? templateOf(tokenizer) : await openTemplate(template, tokenizer, cwd, '--template');
  if (chosen !== undefined) return new ChatFormat(chosen, tokenizer);
  throw new UserError(
    `${checkpoint.path} has no chat template: name the one that the model was trained with, such as --template alpaca`,
  );
}

function checkLengths(questions: readonly Question[], blockSize: number): void {
  const long = questions.filter(({ prompt }) => prompt.length > blockSize);
  const [first] = long;
  if (first === undefined) return;
  const others = long.length === 1 ? '' : ` ${grouped(long.length)} of ${grouped(questions.length)} rows are too long.`;
  throw new UserError(
    `${first.at}: the question has ${grouped(first.prompt.length)} tokens, but the model reads at most ${grouped(blockSize)}. ` +
      `Shorten or remove it.${others}`,
  );
}

interface Answering {
  readonly batch: TextBatch<number>;
  readonly format: ChatFormat;
  readonly loaded: Pick<LoadedModel, 'model'>;
  readonly onProgress: EvaluateAnswersOptions<unknown>['onProgress'];
}

async function answersTo(
  questions: readonly Question[],
  { batch, format, loaded, onProgress }: Answering,
): Promise<Answer[]> {
  const { blockSize } = loaded.model.config;
  const { endTokens } = format;
  const texts = questions.map(() => '');
  const answers: Answer[] = [];
  for (let [next, done] = [0, 0]; done < questions.length; ) {
    for (; next < questions.length && batch.size < together; next++) {
      const { prompt } = questions[next]!;
      // A full context still predicts one more token.
      const maxTokens = blockSize + 1 - prompt.length;
      batch.add(next, { prompt, maxTokens, endTokens, seed: 0, stop: [], temperature: 0, topK: 0, topP: 1 });
    }
    for (const { of: index, text, finish } of await batch.step()) {
      texts[index] += text;
      if (finish === undefined) continue;
      answers[index] = { text: texts[index]!, hasEnded: finish === 'stop' };
      onProgress(++done / questions.length);
    }
  }
  return answers;
}
