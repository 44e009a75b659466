/** Continues a text with a loaded model: converts text to tokens, and new tokens back to text as they come. */
import { UserError } from '../base/errors.ts';
import { encodeWithSpecialTokens } from '../data/tokenizers/specialTokens.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { withBegin } from '../task/textTokens.ts';
import { endTokensOf } from './endTokens.ts';
import type { LoadedModel } from './loadModel.ts';
import { type FinishReason, TextBatch, type TextRequest } from './textBatch.ts';

/** How a text is continued; the meaning of each number is the config's group `sample`. */
export interface TextOptions extends Omit<TextRequest, 'prompt' | 'stop' | 'endTokens' | 'logprobs'> {
  readonly prompt: string;
  /** Parse special tokens in the prompt. Default: they are ordinary text. */
  readonly specialTokens?: boolean;
  /** Texts that end the continuation, each of at least one character; they are not part of it. Default: none. */
  readonly stop?: readonly string[];
  /** Continue after the tokens that end a text ({@link endTokensOf}), which are then part of it. Default: they end it. */
  readonly ignoreEos?: boolean;
  /** As DecodeBatchOptions has it: without, slower, the same tokens, unless two are so nearly as good that rounding decides. */
  readonly useCache?: boolean;
}

type Loaded = Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;

/**
 * The tokens of a prompt, with the begin tokens of the tokenizer before them, but not twice.
 * @throws UserError for an empty prompt without begin tokens or one with characters outside the vocabulary
 */
export function promptTokens(tokenizer: Tokenizer, prompt: string, specialTokens = false): number[] {
  const own = specialTokens ? encodeWithSpecialTokens(tokenizer, prompt) : tokenizer.encode(prompt);
  const tokens = withBegin(tokenizer, Array.from(own));
  if (tokens.length === 0) throw new UserError('the prompt is empty: expected at least one character to continue');
  return tokens;
}

/**
 * Yields the prompt, then its continuation, piece by piece. A character whose bytes are split over tokens comes in one piece. `onToken`
 * is called for each token.
 * @throws UserError for an empty prompt or one with characters outside the vocabulary
 */
export async function* continueText(
  loaded: Loaded,
  { prompt, specialTokens, stop = [], ignoreEos = false, useCache, ...options }: TextOptions,
  onToken: () => void = () => undefined,
): AsyncGenerator<string, void, undefined> {
  const tokens = promptTokens(loaded.tokenizer, prompt, specialTokens);
  const endTokens = ignoreEos ? [] : endTokensOf(loaded.tokenizer);
  yield prompt;
  const batch = new TextBatch<string>(loaded, { useCache });
  try {
    batch.add(prompt, { ...options, stop, endTokens, prompt: tokens });
    while (batch.size > 0) {
      for (const { text, hasToken } of await batch.step()) {
        if (hasToken) onToken();
        if (text !== '') yield text;
      }
    }
  } finally {
    batch.release();
  }
}

/** One of several texts that continue one prompt. */
export interface Sample {
  /** From 0. */
  readonly index: number;
  /** What follows the prompt. */
  readonly text: string;
  readonly finish: FinishReason;
}

/** The seed of the sample `index` of several: that of the first is the one that was asked for. */
export function sampleSeed(seed: number, index: number): number {
  return (seed + index) >>> 0;
}

/**
 * Several texts that follow one prompt, drawn with the seeds `seed`, `seed` + 1 and so on, up to `together` of them at a time. Yields
 * each, in their order, when it is complete: it is what `continueText` gives with its seed.
 * @throws UserError for an empty prompt or one with characters outside the vocabulary
 */
export async function* continueTextOften(
  loaded: Loaded,
  { prompt, specialTokens, stop = [], ignoreEos = false, useCache, ...options }: TextOptions,
  { count, together, onToken = () => undefined }: { count: number; together: number; onToken?: () => void },
): AsyncGenerator<Sample, void, undefined> {
  const tokens = promptTokens(loaded.tokenizer, prompt, specialTokens);
  const endTokens = ignoreEos ? [] : endTokensOf(loaded.tokenizer);
  const batch = new TextBatch<number>(loaded, { useCache });
  const texts = new Map<number, string>();
  const complete = new Map<number, Sample>();
  try {
    for (let [next, told] = [0, 0]; told < count; ) {
      for (; next < count && batch.size < together; next++) {
        texts.set(next, '');
        batch.add(next, { ...options, stop, endTokens, prompt: tokens, seed: sampleSeed(options.seed, next) });
      }
      for (const { of: index, text, hasToken, finish } of await batch.step()) {
        if (hasToken) onToken();
        texts.set(index, texts.get(index)! + text);
        if (finish !== undefined) complete.set(index, { index, text: texts.get(index)!, finish });
      }
      for (let sample = complete.get(told); sample !== undefined; sample = complete.get(told)) {
        yield sample;
        complete.delete(told);
        texts.delete(told++);
      }
    }
  } finally {
    batch.release();
  }
}
