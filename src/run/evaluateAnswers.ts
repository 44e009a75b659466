/** Lets a model answer the questions of rows, as likely as possible, and measures its answers beside those of the rows. */
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { optionName } from '../base/ownCommand.ts';
import type { Answer, Question } from '../task/exactMatch.ts';
import type { PlacedRow } from '../task/rows.ts';
import { type BeamOptions, noBeams } from './answers.ts';
import { type Evaluator, ownEvaluator, type Part } from './evaluationParts.ts';
import type { LoadedModel } from './loadModel.ts';
import { checkEncoder } from './mostLikelyTarget.ts';
import { type QuestionOptions, type QuestionReader, questionReader } from './questions.ts';

/** Answers in a part that another process may compute. */
const answersPerPart = 32;

export interface EvaluateAnswersOptions<Measured> extends QuestionOptions {
  /** Measures the answers to the questions, in their order. */
  readonly measure: (questions: readonly Question[], answers: readonly Answer[]) => Measured;
  /** For a model with an encoder. Default: the most likely token every time. */
  readonly beams?: BeamOptions | undefined;
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
  const { evaluator = ownEvaluator(loaded), beams = noBeams, onProgress } = options;
  const reader = await questionReader(loaded, options);
  if (beams.beams > 1) checkEncoder(loaded, optionName('beams'));
  const questions = rows.map(({ row, at }) => reader.read(row, at));
  checkLengths(questions, reader);
  const answers: Answer[] = [];
  let done = 0;
  const size = evaluator.workers === 1 ? questions.length : answersPerPart;
  const parts = partsOf(questions, { endTokens: reader.endTokens, beams }, size);
  const onDone = (count: number): void => {
    done += count;
    onProgress(done / questions.length);
  };
  for await (const ofPart of evaluator.compute(parts, onDone)) answers.push(...ofPart);
  return options.measure(questions, answers);
}

function* partsOf(
  questions: readonly Question[],
  { endTokens, beams }: Pick<Part<'answers'>, 'endTokens' | 'beams'>,
  size: number,
): Generator<Part<'answers'>, void, undefined> {
  for (let from = 0; from < questions.length; from += size) {
    yield {
      kind: 'answers',
      prompts: questions.slice(from, from + size).map(({ prompt }) => prompt),
      endTokens: [...endTokens],
      beams,
    };
  }
}

function checkLengths(questions: readonly Question[], { name, tokensMax }: QuestionReader): void {
  const long = questions.filter(({ prompt }) => prompt.length > tokensMax);
  const [first] = long;
  if (first === undefined) return;
  const others = long.length === 1 ? '' : ` ${grouped(long.length)} of ${grouped(questions.length)} rows are too long.`;
  throw new UserError(
    `${first.at}: the ${name} has ${grouped(first.prompt.length)} tokens, but the model reads at most ${grouped(tokensMax)}. ` +
      `Shorten or remove it.${others}`,
  );
}
