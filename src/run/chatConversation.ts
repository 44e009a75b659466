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
   * Yields the answer to a message. If the caller stops early, the conversation keeps the part of the answer so far.
   * @throws UserError for an empty message, and for characters outside the vocabulary; the conversation is then unchanged
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
      batch.add(this, { ...options, stop, prompt, seed, endTokens });
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

  /** The conversation and its tokens. The earliest turns are left out if they do not fit. */
  #fitting(messages: readonly Message[]): { asked: readonly Message[]; prompt: number[] } {
    const { blockSize } = this.#loaded.model.config;
    const room = blockSize - Math.min(this.#options.maxTokens, blockSize >> 1);
    for (let from = 0; ; from += 2) {
      const asked = messages.slice(from);
      const { tokens } = this.#format.encode(this.#format.prompt(asked));
      if (tokens.length <= room || asked.length === 1) return { asked, prompt: tokens.slice(-Math.max(1, room)) };
    }
  }
}
