/** The texts of one request on their way to its client: all at once, or piece by piece as server-sent events. */
import { randomUUID } from 'node:crypto';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import type { TextPiece } from '../run/textBatch.ts';
import type { Choice, CompletionRequest } from './completionRequest.ts';
import type { ChoiceBody } from './responseForm.ts';
import type { ScheduledText, Scheduler } from './scheduler.ts';

/** Told of a request: pieces, and then how it ended. */
export interface CompletionListener {
  /** A chunk of the stream; of a text with `finish_reason` the last. */
  readonly onChunk: (choice: ChoiceBody) => void;
  readonly onEnd: () => void;
  readonly onError: (error: unknown) => void;
}

export class Completion {
  readonly #request: CompletionRequest;
  readonly #model: string;
  readonly #tokenizer: Tokenizer;
  readonly #id: string;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #texts: ScheduledText[];
  readonly #scheduler: Scheduler;
  #left: number;
  #tokens = 0;

  constructor(
    request: CompletionRequest,
    { model, tokenizer, scheduler }: { model: string; tokenizer: Tokenizer; scheduler: Scheduler },
    listener: CompletionListener,
  ) {
    this.#request = request;
    this.#id = `${request.form.prefix}-${randomUUID()}`;
    this.#model = model;
    this.#tokenizer = tokenizer;
    this.#scheduler = scheduler;
    this.#left = request.choices.length;
    this.#texts = request.choices.map((choice) => {
      let isFirst = true;
      return {
        request: choice,
        onPiece: (piece) => {
          if (piece.hasToken) this.#tokens++;
          const before = isFirst ? choice.echo : '';
          isFirst = false;
          if (before + piece.text !== '' || piece.finish !== undefined || piece.logprobs !== undefined) {
            listener.onChunk(this.#chunkOf(choice, before, piece));
          }
          if (piece.finish !== undefined && --this.#left === 0) listener.onEnd();
        },
        onError: (error) => {
          this.cancel();
          listener.onError(error);
        },
      } satisfies ScheduledText;
    });
  }

  /** Queues its texts; false where there is no room. */
  submit(): boolean {
    return this.#scheduler.submit(this.#texts);
  }

  /** Ends its texts. */
  cancel(): void {
    for (const text of this.#texts) this.#scheduler.cancel(text);
  }

  /** A response, or an event of a stream. */
  body(choices: readonly ChoiceBody[], { withUsage, isEvent }: { withUsage: boolean; isEvent: boolean }): object {
    const { promptTokens, form } = this.#request;
    const usage = {
      prompt_tokens: promptTokens,
      completion_tokens: this.#tokens,
      total_tokens: promptTokens + this.#tokens,
    };
    return {
      id: this.#id,
      object: isEvent ? form.eventObject : form.object,
      created: this.#created,
      model: this.#model,
      choices: choices.map((choice) => (isEvent ? form.event(choice) : form.choice(choice))),
      ...(withUsage && { usage }),
    };
  }

  #chunkOf({ index }: Choice, before: string, { text, logprobs, finish }: TextPiece<unknown>): ChoiceBody {
    const name = (token: number) => this.#tokenizer.decode([token]);
    return {
      text: before + text,
      index,
      logprobs:
        logprobs === undefined
          ? null
          : {
              tokens: [name(logprobs.token)],
              token_logprobs: [logprobs.logprob],
              top_logprobs: [Object.fromEntries(logprobs.top.map(({ token, logprob }) => [name(token), logprob]))],
              text_offset: [logprobs.offset],
            },
      finish_reason: finish ?? null,
    };
  }
}

/** The chunks of each text as one, in the order of the texts. */
export class GatheredChoices {
  readonly choices: ChoiceBody[];

  constructor(count: number) {
    this.choices = Array.from({ length: count }, (_, index) => ({
      text: '',
      index,
      logprobs: null,
      finish_reason: null,
    }));
  }

  add({ text, index, logprobs, finish_reason }: ChoiceBody): void {
    const before = this.choices[index]!;
    if (before.logprobs !== null && logprobs !== null) {
      before.logprobs.tokens.push(...logprobs.tokens);
      before.logprobs.token_logprobs.push(...logprobs.token_logprobs);
      before.logprobs.top_logprobs.push(...logprobs.top_logprobs);
      before.logprobs.text_offset.push(...logprobs.text_offset);
    }
    this.choices[index] = { text: before.text + text, index, logprobs: before.logprobs ?? logprobs, finish_reason };
  }
}
