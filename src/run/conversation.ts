/** A conversation: the user types a text and the model continues it, in turns. A plain-text model continues all that came before. */
import { UserError } from '../base/errors.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { promptTokens, sampleSeed, type TextOptions } from './continueText.ts';
import { endTokensOf } from './endTokens.ts';
import type { LoadedModel } from './loadModel.ts';
import { TextBatch } from './textBatch.ts';

/** No token of any tokenizer stands for more characters, but for runs of spaces. */
const charactersOfTokenMost = 16;

export class Conversation {
  readonly #loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;
  readonly #options: Omit<TextOptions, 'prompt'>;
  /** Between an answer and the next text of the user. */
  readonly #separator: string;
  #text = '';
  #turn = 0;

  /** @param options of each answer; turn after turn, the seed goes up by 1 */
  constructor(loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>, options: Omit<TextOptions, 'prompt'>) {
    this.#loaded = loaded;
    this.#options = options;
    this.#separator = ['\n', ' '].find((text) => canEncode(loaded.tokenizer, text)) ?? '';
  }

  /** The conversation so far, as far back as the model can see. */
  get text(): string {
    return this.#text;
  }

  /** Begins a new conversation, whose answers are those that the first one would give. */
  clear(): void {
    this.#text = '';
    this.#turn = 0;
  }

  /**
   * Yields the continuation of `typed`, which starts on a new line if the model knows line breaks. An empty text continues the last
   * answer. If the caller stops early, the conversation keeps the part of the answer so far.
   * @throws UserError for characters outside the vocabulary, and for an empty first text; the conversation is then unchanged
   */
  async *answer(typed: string): AsyncGenerator<string, void, undefined> {
    const { tokenizer, model } = this.#loaded;
    const { specialTokens, stop = [], ignoreEos = false, useCache, ...options } = this.#options;
    const endTokens = ignoreEos ? [] : endTokensOf(tokenizer);
    const before = typed === '' || this.#text === '' ? this.#text : this.#text + this.#separator;
    const { blockSize } = model.config;
    const text = (before + typed).slice(-charactersOfTokenMost * blockSize).replace(/^[\uDC00-\uDFFF]/, '');
    // Past blockSize every token needs a full window, so leave room for the answer, or for half a window of it.
    const room = blockSize - Math.min(options.maxTokens, blockSize >> 1);
    const prompt = promptTokens(tokenizer, text, specialTokens).slice(-Math.max(1, room));
    this.#text = text;
    const batch = new TextBatch<Conversation>(this.#loaded, { useCache });
    try {
      batch.add(this, { ...options, stop, endTokens, prompt, seed: sampleSeed(options.seed, this.#turn++) });
      while (batch.size > 0) {
        for (const piece of await batch.step()) {
          this.#text += piece.text;
          yield piece.text;
        }
      }
    } finally {
      batch.release();
    }
  }
}

/** A vocabulary of characters has those of its text alone. */
function canEncode(tokenizer: Tokenizer, text: string): boolean {
  try {
    tokenizer.encode(text);
    return true;
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
}
