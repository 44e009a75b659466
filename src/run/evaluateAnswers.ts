/** Lets a language model answer the questions of rows, greedily, and measures its answers beside those of the rows. */
import { generationProblem } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { openTemplate, templateOf } from '../data/tokenizers/chatTemplate.ts';
import { ChatFormat } from '../task/chatFormat.ts';
import { type Answer, parseQuestion, type Question } from '../task/exactMatch.ts';
import type { PlacedRow } from '../task/rows.ts';
import { type Evaluator, ownEvaluator, type Part } from './evaluationParts.ts';
import type { LoadedModel } from './loadModel.ts';

/** Answers in a part that another process may compute. */
const answersPerPart = 32;

export interface EvaluateAnswersOptions<Measured> {
  /** Measures the answers to the questions, in their order. */
  readonly measure: (questions: readonly Question[], answers: readonly Answer[]) => Measured;
  /** Absent: the one that came with the checkpoint. As `task.template`. */
  readonly template: string | undefined;
  /** Where the path of a template starts. */
  readonly cwd: string;
  /** Called with the share of questions that are answered. */
  readonly onProgress: (done: number) => void;
  /** Who generates the answers. Default: this process. */
  readonly evaluator?: Evaluator | undefined;
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
  const problem = generationProblem(loaded.model.config);
  if (problem !== undefined) throw new UserError(`the model ${problem}: expected a language model`);
  const format = await formatOf(loaded, options);
  const questions = rows.map(({ row, at }) => parseQuestion(format, row, at));
  checkLengths(questions, loaded.model.config.blockSize);
  const { evaluator = ownEvaluator(loaded), onProgress } = options;
  const answers: Answer[] = [];
  let done = 0;
  const parts = partsOf(questions, format, evaluator.workers === 1 ? questions.length : answersPerPart);
  const onDone = (count: number): void => {
    done += count;
    onProgress(done / questions.length);
  };
  for await (const ofPart of evaluator.compute(parts, onDone)) answers.push(...ofPart);
  return options.measure(questions, answers);
}

function* partsOf(
  questions: readonly Question[],
  { endTokens }: ChatFormat,
  size: number,
): Generator<Part<'answers'>, void, undefined> {
  for (let from = 0; from < questions.length; from += size) {
    yield {
      kind: 'answers',
      prompts: questions.slice(from, from + size).map(({ prompt }) => prompt),
      endTokens: [...endTokens],
    };
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
