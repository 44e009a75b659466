/** The most likely targets of sources: translations, by a model with an encoder. */
import { hasEncoder } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import type { Answer } from '../task/exactMatch.ts';
import { sequenceEnds } from '../task/seq2seq.ts';
import { answersTo } from './answers.ts';
import type { LoadedModel } from './loadModel.ts';

/**
 * The target of each source, taking the most likely token every time.
 * @throws UserError for a model without an encoder, and for a source that is too long
 */
export function targetsOf(
  loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>,
  sources: readonly ArrayLike<number>[],
  maxTokens: number,
): Promise<Answer[]> {
  if (!hasEncoder(loaded.model.config)) {
    throw new UserError(
      'expected a model with an encoder (task.kind: seq2seq) to translate, but this one continues texts',
    );
  }
  const endTokens = [sequenceEnds(loaded.tokenizer).end];
  const prompts = sources.map((source) => Array.from(source));
  return answersTo(prompts, { loaded, endTokens, maxTokens, onDone: () => undefined });
}
