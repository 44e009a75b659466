/** What a model reads of a prompt: a language model continues it; for a model with an encoder it is the source of a target. */
import { beginTokenOf, hasEncoder } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { sequenceEnds, sourceTokens } from '../task/seq2seq.ts';
import { withoutBegin } from '../task/textTokens.ts';
import type { LoadedModel } from './loadModel.ts';

/** The tokens that a sequence starts with. */
export interface ModelInput {
  /** What the next token follows. */
  readonly prompt: ArrayLike<number>;
  /** Absent: the model has no encoder. */
  readonly source?: readonly number[];
}

type Loaded = Pick<LoadedModel, 'model' | 'tokenizer'>;

/** Whether a prompt is a source, whose target the model writes. */
export function readsSources({ model: { config } }: Pick<LoadedModel, 'model'>): boolean {
  return hasEncoder(config);
}

/** Largest number of tokens of a prompt; infinite for a language model, which reads the end of a longer one. */
export function promptTokensMax({ model: { config } }: Pick<LoadedModel, 'model'>): number {
  // The end token needs a position.
  return hasEncoder(config) ? config.blockSize - 1 : Number.POSITIVE_INFINITY;
}

/** @throws UserError for a source that is blank, or longer than the model reads */
export function inputOf(loaded: Loaded, prompt: ArrayLike<number>): ModelInput {
  if (!hasEncoder(loaded.model.config)) return { prompt };
  // Lines of data without text count as empty too.
  if (loaded.tokenizer.decode(Array.from(prompt)).trim() === '') {
    throw new UserError('the source is empty: expected a text, such as one to translate');
  }
  const most = promptTokensMax(loaded);
  // Sources begin as they do in training, also with a tokenizer that puts a begin token before every text.
  const tokens = withoutBegin(loaded.tokenizer, Array.from(prompt));
  if (tokens.length > most) {
    throw new UserError(
      `the source has ${grouped(tokens.length)} tokens, but the model reads at most ${grouped(most)}: shorten it`,
    );
  }
  const ends = sequenceEnds(loaded.tokenizer, beginTokenOf(loaded.model.config));
  return { prompt: [ends.begin], source: sourceTokens(tokens, ends) };
}
