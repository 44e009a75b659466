/**
 * The body of `POST /v1/completions`: OpenAI's parameters, with `top_k`, `min_p`, `repetition_penalty`, `special_tokens` and `ignore_eos` beside them. Every parameter has a range, and
 * one that this server does not know is an error: left out in silence, it would not do what its sender means.
 */
import { messageOf, UserError } from '../base/errors.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { promptTokens, sampleSeed } from '../run/continueText.ts';
import type { TextRequest } from '../run/textBatch.ts';
import { invalid } from './apiError.ts';
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
  shown,
} from './requestFields.ts';
import { type ResponseForm, textForm } from './responseForm.ts';

/** One of the texts that a request asks for. */
export interface Choice extends TextRequest {
  /** Its position in the request, from 0; texts of the first prompt come first. */
  readonly index: number;
  /** The prompt as text, if it is repeated before its continuation. */
  readonly echo: string;
}

export interface CompletionRequest {
  readonly choices: readonly Choice[];
  /** Total of all prompts, each counted once. */
  readonly promptTokens: number;
  readonly stream: boolean;
  /** Whether a stream ends with the number of tokens. */
  readonly includeUsage: boolean;
  /** How its texts are told. */
  readonly form: ResponseForm;
}

/** What a model with an encoder reads and writes. */
export interface TargetLimits {
  /** Largest number of tokens of a source. */
  readonly sourceMax: number;
  /** Largest number of tokens of its target, and the default of `max_tokens`. */
  readonly targetMax: number;
}

/** What a server and its model allow. */
export interface RequestLimits {
  readonly model: string;
  readonly tokenizer: Tokenizer;
  readonly vocabSize: number;
  /** For a model with an encoder, whose prompts are sources. Absent: prompts of any length are continued. */
  readonly targets?: TargetLimits | undefined;
  /** Tokens that end a text, unless the request has `ignore_eos`. */
  readonly endTokens: readonly number[];
  /** Texts of one request. */
  readonly choicesMax: number;
  /** The seed of a request that names none. */
  readonly randomSeed: () => number;
}

const names: KnownNames = {
  known: new Set([
    ...samplingNames,
    ...['model', 'prompt', 'max_tokens', 'n', 'seed', 'stream'],
    ...['stream_options', 'logprobs', 'echo', 'special_tokens', 'ignore_eos'],
  ]),
  withoutEffect: { ...harmless, suffix: (value) => value === '', best_of: (value, { n }) => value === (n ?? 1) },
};

/** @throws ApiError for the first parameter that is wrong */
export function parseCompletionRequest(given: unknown, limits: RequestLimits): CompletionRequest {
  const body = bodyOf(given);
  checkNames(body, names);
  checkModel(body, limits.model);
  const n = number(body, 'n', { min: 1, max: requestLimits.n, whole: true, fallback: 1 });
  const prompts = promptsOf(body, limits);
  if (prompts.length * n > limits.choicesMax) {
    const most = `this server takes ${limits.choicesMax} texts a request`;
    throw invalid('n', `${prompts.length} prompts times ${n} are ${prompts.length * n} texts; ${most}`);
  }
  const seed = seedOf(body, limits.randomSeed);
  const logprobs = body['logprobs'] !== undefined;
  const echo = flag(body, 'echo');
  if (logprobs && echo) throw invalid('logprobs', 'this server has none of a prompt; leave out echo or logprobs');
  const { targets } = limits;
  if (echo && targets !== undefined) {
    throw invalid('echo', 'this model writes the target of a prompt and does not continue it; leave it out');
  }
  // OpenAI's defaults are for continuations: a translation is complete, and the most likely one.
  const tokensByDefault = Math.min(targets?.targetMax ?? 16, requestLimits.maxTokens);
  const shared = {
    maxTokens: number(body, 'max_tokens', {
      ...{ min: 0, max: requestLimits.maxTokens, whole: true },
      fallback: tokensByDefault,
    }),
    ...samplingOf(body, targets === undefined ? 1 : 0),
    endTokens: flag(body, 'ignore_eos') ? [] : limits.endTokens,
    logprobs: logprobs
      ? number(body, 'logprobs', { min: 0, max: requestLimits.logprobs, whole: true, fallback: 0 })
      : undefined,
  };
  const stream = flag(body, 'stream');
  if (!stream) checkGathered(prompts.length * n, shared);
  return {
    choices: prompts.flatMap(({ tokens, text }, p) =>
      Array.from({ length: n }, (_, i) => ({
        ...shared,
        prompt: tokens,
        seed: sampleSeed(seed, i),
        index: p * n + i,
        echo: echo ? text() : '',
      })),
    ),
    promptTokens: prompts.reduce((sum, { tokens }) => sum + tokens.length, 0),
    stream,
    includeUsage: includesUsage(body),
    form: textForm,
  };
}

interface Prompt {
  readonly tokens: ArrayLike<number>;
  readonly text: () => string;
}

/** A text, tokens, or several of either; left out, the tokens that begin a text, or else the one that ends a document. */
function promptsOf(body: Body, limits: RequestLimits): Prompt[] {
  const prompts = givenPrompts(body, limits);
  if (limits.targets === undefined) return prompts;
  if (prompts.some(({ text }) => text().trim() === '')) {
    throw invalid('prompt', 'the source is empty; expected a text, such as one to translate');
  }
  const { sourceMax } = limits.targets;
  const long = prompts.find(({ tokens }) => tokens.length > sourceMax);
  if (long === undefined) return prompts;
  throw invalid('prompt', `the model reads sources of at most ${sourceMax} tokens; this one has ${long.tokens.length}`);
}

function givenPrompts(body: Body, limits: RequestLimits): Prompt[] {
  const { tokenizer, targets } = limits;
  if (body['prompt'] === undefined && targets !== undefined) {
    throw invalid('prompt', 'expected a source, such as a text to translate');
  }
  const { beginTokens = [], endOfText } = tokenizer;
  const isUnbegun = beginTokens.length === 0 && endOfText !== undefined;
  const prompt = body['prompt'] ?? (isUnbegun ? [endOfText] : '');
  const special = flag(body, 'special_tokens');
  const expected = 'expected a text, an array of texts, an array of tokens, or an array of such arrays';
  if (typeof prompt === 'string') return [promptOfText(prompt, special, tokenizer)];
  if (!Array.isArray(prompt)) throw invalid('prompt', expected);
  if (prompt.length === 0) throw invalid('prompt', `the array is empty; ${expected}`);
  if (typeof prompt[0] === 'number') return [promptOfTokens(prompt, limits)];
  if (prompt.length > requestLimits.prompts) {
    throw invalid('prompt', `received ${prompt.length} prompts; at most ${requestLimits.prompts} a request`);
  }
  return prompt.map((one: unknown) => {
    if (typeof one === 'string') return promptOfText(one, special, tokenizer);
    if (Array.isArray(one)) return promptOfTokens(one, limits);
    throw invalid('prompt', expected);
  });
}

function promptOfText(text: string, special: boolean, tokenizer: Tokenizer): Prompt {
  try {
    return { tokens: promptTokens(tokenizer, text, special), text: () => text };
  } catch (error) {
    if (error instanceof UserError) throw invalid('prompt', messageOf(error));
    throw error;
  }
}

function promptOfTokens(tokens: readonly unknown[], { tokenizer, vocabSize }: RequestLimits): Prompt {
  if (tokens.length === 0) throw invalid('prompt', 'a prompt has at least one token');
  const wrong = tokens.findIndex(
    (token) => !(Number.isInteger(token) && Number(token) >= 0 && Number(token) < vocabSize),
  );
  if (wrong >= 0) {
    const expected = `expected a whole number from 0 to ${vocabSize - 1}`;
    throw invalid('prompt', `token ${wrong}: ${expected}, received ${shown(tokens[wrong])}`);
  }
  const checked = tokens as readonly number[];
  return { tokens: checked, text: () => tokenizer.decode(checked) };
}
