/** The most likely targets of sources: translations, by a model with an encoder. */
import { hasEncoder } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { optionName } from '../base/ownCommand.ts';
import type { Answer } from '../task/exactMatch.ts';
import { sequenceEnds } from '../task/seq2seq.ts';
import { answersTo, type BeamOptions } from './answers.ts';
import { promptTokens, type TextOptions } from './continueText.ts';
import type { LoadedModel } from './loadModel.ts';

type Loaded = Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;

/**
 * The target of the prompt that a beam search finds.
 * @throws UserError for a model without an encoder, and for a prompt that is empty, too long or outside the vocabulary
 */
export async function mostLikelyTarget(
  loaded: Loaded,
  { prompt, specialTokens, maxTokens }: Pick<TextOptions, 'prompt' | 'specialTokens' | 'maxTokens'>,
  beams: BeamOptions,
): Promise<string> {
  checkEncoder(loaded, optionName('beams'));
  const [answer] = await targetsOf(loaded, [promptTokens(loaded.tokenizer, prompt, specialTokens)], {
    maxTokens,
    beams,
  });
  return answer!.text;
}

/** The target of each source. */
export function targetsOf(
  loaded: Loaded,
  sources: readonly ArrayLike<number>[],
  { beams, maxTokens }: { readonly beams: BeamOptions; readonly maxTokens: number | undefined },
): Promise<Answer[]> {
  const endTokens = [sequenceEnds(loaded.tokenizer).end];
  const prompts = sources.map((source) => Array.from(source));
  return answersTo(prompts, { loaded, endTokens, beams, maxTokens, onDone: () => undefined });
}

/** @param what needs an encoder, for the message @throws UserError for a model without one */
export function checkEncoder({ model }: Pick<LoadedModel, 'model'>, what: string): void {
  if (hasEncoder(model.config)) return;
  throw new UserError(`${what} needs a model with an encoder (task.kind: seq2seq), but this one continues texts`);
}
