/** Scores answers to prompts with a loaded reward model, in the form in which it was trained: its chat template, and the token that ends an answer. */
import { UserError } from '../base/errors.ts';
import { templateOf } from '../data/tokenizers/chatTemplate.ts';
import { scoreTexts } from '../model/scoreTexts.ts';
import { ChatFormat } from '../task/chatFormat.ts';
import type { Message } from '../task/messages.ts';
import type { LoadedModel } from './loadModel.ts';

/** An answer and the conversation before it, whose last message is the user's. */
export interface AnswerToScore {
  readonly messages: readonly Message[];
  readonly completion: string;
}

/**
 * A function from answers to their scores. Each answer has the score that it has alone, to the bit; a longer conversation than the context
 * loses its start.
 * @param name of the model, for messages
 * @throws UserError for a model without a chat template; the function throws one for a model that does not score texts
 */
export function answerScorer(
  { engine, model, tokenizer }: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>,
  name: string,
): (answers: readonly AnswerToScore[]) => Promise<number[]> {
  const template = templateOf(tokenizer);
  if (template === undefined) throw new UserError(`${name} has no chat template, with which it was to be trained`);
  const format = new ChatFormat(template, tokenizer);
  const { blockSize } = model.config;
  return async (answers) => {
    const texts = answers.map(({ messages, completion }) => {
      const { tokens } = format.encode(format.segments([...messages, { role: 'assistant', content: completion }]));
      return tokens.slice(-blockSize);
    });
    return Array.from(await scoreTexts({ engine, model }, texts));
  };
}
