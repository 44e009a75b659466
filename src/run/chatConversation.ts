/** A conversation with a model that has a chat template: the user's messages and its answers, each of which ends with its end token. */
import { UserError } from '../base/errors.ts';
import type { ChatFormat } from '../task/chatFormat.ts';
import type { Message } from '../task/messages.ts';
import { sampleSeed, type TextOptions } from './continueText.ts';
import type { LoadedModel } from './loadModel.ts';
import { TextBatch } from './textBatch.ts';

export class ChatConversation {
  readonly #loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>;
  readonly #format: ChatFormat;
  readonly #options: Omit<TextOptions, 'prompt' | 'specialTokens'>;
  #messages: readonly Message[] = [];
  #turn = 0;

  /** @param options of each answer; turn after turn, the seed goes up by 1 */
  constructor(
    loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>,
    format: ChatFormat,
    options: Omit<TextOptions, 'prompt' | 'specialTokens'>,
  ) {
    this.#loaded = loaded;
    this.#format = format;
    this.#options = options;
  }

  /** The conversation so far. */
  get messages(): readonly Message[] {
    return this.#messages;
  }

  /** Begins a new conversation, whose answers are those that the first one would give. */
  clear(): void {
    this.#messages = [];
    this.#turn = 0;
  }

  /**
   * Yields the answer to a message, which also ends where the context is full. If the caller stops early, the conversation keeps the part
   * of the answer so far.
   * @throws UserError for an empty message, for one that fills the context by itself, and for characters outside the vocabulary; the
   * conversation is then unchanged
   */
  async *answer(typed: string): AsyncGenerator<string, void, undefined> {
    if (typed.trim() === '') throw new UserError('the message is empty: expected a text to answer');
    const { stop = [], ignoreEos = false, useCache, ...options } = this.#options;
    const endTokens = ignoreEos ? [] : this.#format.endTokens;
    const { asked, prompt } = this.#fitting([...this.#messages, { role: 'user', content: typed }]);
    let content = '';
    const batch = new TextBatch<ChatConversation>(this.#loaded, { useCache });
    try {
      const seed = sampleSeed(options.seed, this.#turn++);
      // Past the end of the context the model would no longer see the beginning of the message.
      const maxTokens = Math.min(options.maxTokens, this.#loaded.model.config.blockSize - prompt.length);
      batch.add(this, { ...options, maxTokens, stop, prompt, seed, endTokens });
      while (batch.size > 0) {
        for (const { text } of await batch.step()) {
          content += text;
          yield text;
        }
      }
    } finally {
      this.#messages = [...asked, { role: 'assistant', content }];
      batch.release();
    }
  }

  /**
   * The conversation and its tokens. The earliest turns are left out if they leave too little room for the answer; the message itself is
   * never cut, because without its beginning it asks something else.
   * @throws UserError for a message that fills the context by itself, which `launch serve` refuses too
   */
  #fitting(messages: readonly Message[]): { asked: readonly Message[]; prompt: number[] } {
    const { blockSize } = this.#loaded.model.config;
    const room = blockSize - Math.min(this.#options.maxTokens, blockSize >> 1);
    for (let from = 0; ; from += 2) {
      const asked = messages.slice(from);
      const { tokens } = this.#format.encode(this.#format.prompt(asked));
      if (tokens.length <= room) return { asked, prompt: tokens };
      if (asked.length > 1) continue;
      if (tokens.length < blockSize) return { asked, prompt: tokens };
      throw new UserError(
        `the message has ${tokens.length} tokens, and this model sees ${blockSize} tokens with the answer: shorten it`,
      );
    }
  }
}
