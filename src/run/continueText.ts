/** A loaded model continues a text: from text to tokens, and back as they come. */
import { UserError } from '../base/errors.ts';
import { encodeWithSpecialTokens } from '../data/tokenizers/specialTokens.ts';
import { generate } from '../model/generate.ts';
import type { LoadedModel } from './loadModel.ts';

/** How a text is continued; the meaning of each number is the config's group `sample`. */
export interface TextOptions {
  readonly prompt: string;
  /** Names of special tokens in the prompt stand for them. Default: they are text as any other. */
  readonly specialTokens?: boolean;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
  /** As GenerateOptions has it: without, slower, the same tokens, unless two are so nearly as good that rounding decides. */
  readonly useCache?: boolean;
}

/**
 * Yields the prompt, then the text that follows it, piece by piece; a character whose bytes are split over tokens comes whole. `onToken`
 * is called for each token as it comes.
 * @throws UserError for an empty prompt or one with characters outside the vocabulary
 */
export async function* continueText(
  { engine, model, tokenizer }: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>,
  { prompt, specialTokens = false, ...options }: TextOptions,
  onToken: () => void = () => undefined,
): AsyncGenerator<string, void, undefined> {
  const tokens = specialTokens ? encodeWithSpecialTokens(tokenizer, prompt) : tokenizer.encode(prompt);
  if (tokens.length === 0) throw new UserError('the prompt is empty: expected at least one character to continue');
  yield prompt;
  const decoder = tokenizer.streamDecoder();
  // What the first new token stands for may depend on those before it (the space before a word of SentencePiece's).
  for (const token of tokens) decoder.push(token);
  for await (const token of generate(engine, model, { ...options, prompt: tokens })) {
    onToken();
    const piece = decoder.push(token);
    if (piece !== '') yield piece;
  }
  const rest = decoder.flush();
  if (rest !== '') yield rest;
}
