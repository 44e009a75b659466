/** The questions of rows for a model: conversations up to the last answer, or sources. */
import { decodingProblem, hasEncoder } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { optionName } from '../base/ownCommand.ts';
import { openTemplate, templateOf } from '../data/tokenizers/chatTemplate.ts';
import { ChatFormat } from '../task/chatFormat.ts';
import { parseQuestion, type Question } from '../task/exactMatch.ts';
import type { Row } from '../task/rows.ts';
import { parseSourceQuestion, sequenceEnds } from '../task/seq2seq.ts';
import type { LoadedModel } from './loadModel.ts';
import { promptTokensMax } from './modelInput.ts';

export interface QuestionOptions {
  /** Absent: the one that came with the checkpoint. As `task.template`. */
  readonly template: string | undefined;
  /** Where the path of a template starts. */
  readonly cwd: string;
}

/** Reads questions from rows. */
export interface QuestionReader {
  /** @throws UserError for a row that the task of the model refuses */
  readonly read: (row: Row, at: string) => Question;
  /** The tokens that end an answer. */
  readonly endTokens: readonly number[];
  /** What a question is, for messages. */
  readonly name: 'question' | 'source';
  /** Largest number of tokens of a question. */
  readonly tokensMax: number;
}

/** @throws UserError for a model that generates no text, and for a template that is missing or of no use */
export async function questionReader(
  loaded: Pick<LoadedModel, 'checkpoint' | 'model' | 'tokenizer'>,
  options: QuestionOptions,
): Promise<QuestionReader> {
  const { model, tokenizer } = loaded;
  const problem = decodingProblem(model.config);
  if (problem !== undefined) throw new UserError(`the model ${problem}: expected a language model`);
  if (hasEncoder(model.config)) {
    if (options.template !== undefined) {
      throw new UserError(
        `${optionName('template')} is for conversations, but this model reads a source and writes its target: omit it`,
      );
    }
    const read = (row: Row, at: string) => parseSourceQuestion(tokenizer, row, at);
    return { read, name: 'source', endTokens: [sequenceEnds(tokenizer).end], tokensMax: promptTokensMax(loaded) };
  }
  const format = await formatOf(loaded, options);
  return {
    read: (row, at) => parseQuestion(format, row, at),
    name: 'question',
    endTokens: format.endTokens,
    tokensMax: model.config.blockSize,
  };
}

async function formatOf(
  { checkpoint, tokenizer }: Pick<LoadedModel, 'checkpoint' | 'tokenizer'>,
  { template, cwd }: QuestionOptions,
): Promise<ChatFormat> {
  const chosen =
    template === undefined
      ? templateOf(tokenizer)
      : await openTemplate(template, tokenizer, cwd, optionName('template'));
  if (chosen !== undefined) return new ChatFormat(chosen, tokenizer);
  throw new UserError(
    `${checkpoint.path} has no chat template: name the one that the model was trained with, such as ${optionName('template')} alpaca`,
  );
}
