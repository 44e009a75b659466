/**
 * The body of `POST /v1/completions`: OpenAI's parameters, with `top_k` and `special_tokens` of our own. Every parameter has a range, and
 * one that this server does not know is an error: left out in silence, it would not do what its sender means.
 */
import { messageOf, UserError } from '../base/errors.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { promptTokens, sampleSeed } from '../run/continueText.ts';
import type { TextRequest } from '../run/textBatch.ts';
import { ApiError, invalid } from './apiError.ts';

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
}

/** What a server and its model allow. */
export interface RequestLimits {
  readonly model: string;
  readonly tokenizer: Tokenizer;
  readonly vocabSize: number;
  /** Texts of one request. */
  readonly choicesMax: number;
  /** The seed of a request that names none. */
  readonly randomSeed: () => number;
}

/** The maximum of each. `gathered`: tokens of an answer without streaming, each counted with its reported alternatives. */
export const requestLimits = {
  ...{ maxTokens: 65_536, n: 128, prompts: 128, stops: 4, stopLength: 256, logprobs: 20 },
  gathered: 2 ** 18,
};

type Body = Readonly<Record<string, unknown>>;

/** Parameters of OpenAI's that do nothing here, and the values with which they do nothing there. */
const withoutEffect: Readonly<Record<string, (value: unknown, body: Body) => boolean>> = {
  user: (value) => typeof value === 'string',
  presence_penalty: (value) => value === 0,
  frequency_penalty: (value) => value === 0,
  logit_bias: (value) => typeof value === 'object' && Object.keys(value ?? {}).length === 0,
  suffix: (value) => value === '',
  best_of: (value, { n }) => value === (n ?? 1),
};
const known = new Set([
  ...['model', 'prompt', 'max_tokens', 'temperature', 'top_p', 'top_k', 'n', 'seed', 'stop', 'stream'],
  ...['stream_options', 'logprobs', 'echo', 'special_tokens'],
]);

/** @throws ApiError for the first parameter that is wrong */
export function parseCompletionRequest(given: unknown, limits: RequestLimits): CompletionRequest {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new ApiError('expected a JSON object as the body of the request', { status: 400 });
  }
  // A parameter that is null is one that is left out.
  const body: Body = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
  checkNames(body);
  checkModel(body, limits.model);
  const n = number(body, 'n', { min: 1, max: requestLimits.n, whole: true, fallback: 1 });
  const prompts = promptsOf(body, limits);
  if (prompts.length * n > limits.choicesMax) {
    const most = `this server takes ${limits.choicesMax} texts a request`;
    throw invalid('n', `${prompts.length} prompts times ${n} are ${prompts.length * n} texts; ${most}`);
  }
  const seed = number(body, 'seed', { min: 0, max: 2 ** 32 - 1, whole: true, fallback: limits.randomSeed() });
  const logprobs = body['logprobs'] !== undefined;
  const echo = flag(body, 'echo');
  if (logprobs && echo) throw invalid('logprobs', 'this server has none of a prompt; leave out echo or logprobs');
  const shared = {
    maxTokens: number(body, 'max_tokens', { min: 0, max: requestLimits.maxTokens, whole: true, fallback: 16 }),
    temperature: number(body, 'temperature', { min: 0, max: 100, fallback: 1 }),
    topP: number(body, 'top_p', { min: 1e-4, max: 1, fallback: 1 }),
    topK: number(body, 'top_k', { min: 0, max: 2 ** 31, whole: true, fallback: 0 }),
    stop: stopsOf(body),
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
  };
}

/** An answer without streaming is held in memory until its last token. */
function checkGathered(texts: number, { maxTokens, logprobs = 0 }: Pick<TextRequest, 'maxTokens' | 'logprobs'>): void {
  const most = Math.floor(requestLimits.gathered / texts / (1 + logprobs));
  if (maxTokens <= most) return;
  const of = `${texts === 1 ? 'one text' : `${texts} texts`}${logprobs > 0 ? ` with logprobs of ${logprobs}` : ''}`;
  throw invalid('max_tokens', `an answer of ${of} has up to ${most} tokens each; ask for fewer, or set stream`);
}

function checkNames(body: Body): void {
  for (const [name, value] of Object.entries(body)) {
    if (known.has(name)) continue;
    const isHarmless = Object.hasOwn(withoutEffect, name) ? withoutEffect[name]! : undefined;
    if (isHarmless === undefined) throw invalid(name.slice(0, 100), 'unknown parameter');
    if (!isHarmless(value, body)) throw invalid(name, 'this server cannot do that; leave it out');
  }
}

function checkModel({ model = undefined }: Body & { model?: unknown }, served: string): void {
  if (model === undefined || model === served) return;
  throw new ApiError(`model: this server has ${JSON.stringify(served)} only`, {
    status: typeof model === 'string' ? 404 : 400,
    param: 'model',
    code: 'model_not_found',
  });
}

interface Prompt {
  readonly tokens: ArrayLike<number>;
  readonly text: () => string;
}

/** A text, tokens, or several of either; left out, the token that ends a document where the model has one. */
function promptsOf(body: Body, limits: RequestLimits): Prompt[] {
  const { tokenizer } = limits;
  const prompt = body['prompt'] ?? (tokenizer.endOfText === undefined ? '' : [tokenizer.endOfText]);
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

function stopsOf({ stop = [] }: Body & { stop?: unknown }): string[] {
  const stops: unknown[] = Array.isArray(stop) ? stop : [stop];
  const { stops: most, stopLength } = requestLimits;
  if (stops.length > most) throw invalid('stop', `received ${stops.length} texts; at most ${most}`);
  return stops.map((text) => {
    if (typeof text === 'string' && text.length >= 1 && text.length <= stopLength) return text;
    throw invalid('stop', `expected a text of 1 to ${stopLength} characters, or an array of up to ${most}`);
  });
}

function includesUsage(body: Body): boolean {
  const options = body['stream_options'];
  if (options === undefined) return false;
  if (!flag(body, 'stream')) throw invalid('stream_options', 'only a stream has them; leave them out, or set stream');
  const { include_usage: include = false, ...others } = Object(options) as Body;
  if (typeof include === 'boolean' && Object.keys(others).length === 0) return include;
  throw invalid('stream_options', 'expected {"include_usage": true} or false');
}

interface Range {
  readonly min: number;
  readonly max: number;
  readonly whole?: boolean;
  readonly fallback: number;
}

function number(body: Body, name: string, { min, max, whole = false, fallback }: Range): number {
  const value = body[name] ?? fallback;
  if (typeof value === 'number' && value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  const expected = `expected ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}`;
  throw invalid(name, `${expected}, received ${shown(value)}`);
}

function flag(body: Body, name: string): boolean {
  const value = body[name] ?? false;
  if (typeof value === 'boolean') return value;
  throw invalid(name, `expected true or false, received ${shown(value)}`);
}

/** A short form for messages. Nested values are not written out, because their depth has no bound. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' && value !== null ? 'an object' : JSON.stringify(value).slice(0, 100);
}
