/** The body of `POST /v1/chat/completions`: OpenAI's parameters for one answer, with `top_k`, `min_p` and `repetition_penalty` beside them. */
import { messageOf, UserError } from '../base/errors.ts';
import type { ChatFormat } from '../task/chatFormat.ts';
import { checkTurns, chatForm as messageForm, parseMessages } from '../task/messages.ts';
import { ApiError, invalid } from './apiError.ts';
import type { CompletionRequest } from './completionRequest.ts';
import {
  type Body,
  bodyOf,
  checkGathered,
  checkModel,
  checkNames,
  flag,
  harmless,
  includesUsage,
  type KnownNames,
  number,
  requestLimits,
  samplingNames,
  samplingOf,
  seedOf,
} from './requestFields.ts';
import { chatForm } from './responseForm.ts';

const names: KnownNames = {
  known: new Set([
    ...samplingNames,
    ...['model', 'messages', 'max_tokens', 'max_completion_tokens', 'n', 'seed'],
    ...['stream', 'stream_options'],
  ]),
  withoutEffect: {
    ...harmless,
    logprobs: (value) => value === false,
    response_format: (value) => typeof value === 'object' && (value as Body)['type'] === 'text',
    tools: (value) => Array.isArray(value) && value.length === 0,
  },
};

/** GPT-2's longest tokens; those of a text have four on average. */
const charactersPerToken = 128;

/** What a server and its model allow. */
export interface ChatLimits {
  readonly model: string;
  readonly format: ChatFormat;
  /** Tokens that the model sees. */
  readonly blockSize: number;
  /** The seed of a request that names none. */
  readonly randomSeed: () => number;
}

/** @throws ApiError for the first parameter that is wrong */
export function parseChatRequest(given: unknown, limits: ChatLimits): CompletionRequest {
  const { format, blockSize } = limits;
  const body = bodyOf(given);
  checkNames(body, names);
  checkModel(body, limits.model);
  number(body, 'n', { min: 1, max: 1, whole: true, fallback: 1 });
  const prompt = promptOf(body, limits);
  if (prompt.length >= blockSize) throw tooLong(`${prompt.length} tokens`, blockSize);
  const name = body['max_completion_tokens'] === undefined ? 'max_tokens' : 'max_completion_tokens';
  const maxTokens = number(body, name, {
    ...{ min: 1, max: requestLimits.maxTokens, whole: true },
    fallback: Math.min(blockSize - prompt.length, requestLimits.maxTokens),
  });
  const stream = flag(body, 'stream');
  if (!stream) checkGathered(1, { maxTokens, logprobs: undefined });
  const seed = seedOf(body, limits.randomSeed);
  return {
    choices: [{ ...samplingOf(body), maxTokens, prompt, seed, endTokens: format.endTokens, index: 0, echo: '' }],
    promptTokens: prompt.length,
    stream,
    includeUsage: includesUsage(body),
    form: chatForm(),
  };
}

/** The tokens of the conversation, up to where the answer starts. */
function promptOf({ messages }: Body & { messages?: unknown }, { format, blockSize }: ChatLimits): number[] {
  if (Array.isArray(messages) && messages.length > requestLimits.messages) {
    throw invalid('messages', `received ${messages.length} messages; at most ${requestLimits.messages} a request`);
  }
  try {
    const parsed = parseMessages(messages, messageForm, { key: 'item', at: 'messages' });
    checkTurns(parsed, 'user', 'messages');
    // Every message is rendered several times, and nobody else is served meanwhile: what is surely too long is refused before.
    const characters = parsed.reduce((sum, { content }) => sum + content.length, 0);
    if (characters > blockSize * charactersPerToken) throw tooLong(`${characters} characters`, blockSize);
    return format.encode(format.prompt(parsed)).tokens;
  } catch (error) {
    if (error instanceof UserError) throw new ApiError(messageOf(error), { status: 400, param: 'messages' });
    throw error;
  }
}

function tooLong(found: string, blockSize: number): ApiError {
  return new ApiError(
    `messages: the conversation has ${found}, and this model sees ${blockSize} tokens with the answer: shorten it`,
    { status: 400, param: 'messages', code: 'context_length_exceeded' },
  );
}
