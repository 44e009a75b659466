/** How a text is told to its client: in the form of OpenAI's completions, or of its chat completions. */

/** OpenAI's form of what a token could have been; each list has an entry for each token. */
interface Logprobs {
  readonly tokens: string[];
  readonly token_logprobs: number[];
  readonly top_logprobs: Record<string, number>[];
  readonly text_offset: number[];
}

/** What is told of one text, a part of it in a stream. */
export interface ChoiceBody {
  readonly text: string;
  readonly index: number;
  readonly logprobs: Logprobs | null;
  readonly finish_reason: 'stop' | 'length' | null;
}

/** The form of a response, and of the events of a stream. */
export interface ResponseForm {
  /** How an id starts. */
  readonly prefix: string;
  /** The `object` of a response. */
  readonly object: string;
  /** The `object` of an event. */
  readonly eventObject: string;
  /** A text in a response. */
  readonly choice: (choice: ChoiceBody) => object;
  /** A part of a text in an event. */
  readonly event: (choice: ChoiceBody) => object;
}

/** A completion has texts. */
export const textForm: ResponseForm = {
  prefix: 'cmpl',
  object: 'text_completion',
  eventObject: 'text_completion',
  choice: (choice) => choice,
  event: (choice) => choice,
};

/** A chat completion has a message of the assistant. The first event of a stream names its role. */
export function chatForm(): ResponseForm {
  let isFirst = true;
  return {
    prefix: 'chatcmpl',
    object: 'chat.completion',
    eventObject: 'chat.completion.chunk',
    choice: ({ text, index, finish_reason }) => ({
      ...{ index, message: { role: 'assistant', content: text, refusal: null } },
      ...{ logprobs: null, finish_reason },
    }),
    event: ({ text, index, finish_reason }) => {
      const role = isFirst ? { role: 'assistant' } : {};
      isFirst = false;
      return { index, delta: { ...role, content: text }, logprobs: null, finish_reason };
    },
  };
}
