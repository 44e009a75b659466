/** The parameters that the requests of this server share, each with its range. A parameter that is null is left out. */
import type { TextRequest } from '../run/textBatch.ts';
import { ApiError, invalid } from './apiError.ts';

/** The maximum of each. `gathered`: tokens of an answer without streaming, each counted with its reported alternatives. */
export const requestLimits = {
  ...{ maxTokens: 65_536, n: 128, prompts: 128, stops: 4, stopLength: 256, logprobs: 20, messages: 128 },
  gathered: 2 ** 18,
};

/** The fields of a request. */
export type Body = Readonly<Record<string, unknown>>;

/** @throws ApiError for anything but an object */
export function bodyOf(given: unknown): Body {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new ApiError('expected a JSON object as the body of the request', { status: 400 });
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
}

/** The parameters of {@link samplingOf}. The last three are not OpenAI's: `min_p` and `repetition_penalty` have their names in vLLM. */
export const samplingNames = ['temperature', 'top_p', 'stop', 'top_k', 'min_p', 'repetition_penalty'] as const;

/** Names of parameters. */
export interface KnownNames {
  readonly known: ReadonlySet<string>;
  /** Parameters of OpenAI's that do nothing here, and the values with which they do nothing there. */
  readonly withoutEffect: Readonly<Record<string, (value: unknown, body: Body) => boolean>>;
}

/** Those of every request. */
export const harmless: KnownNames['withoutEffect'] = {
  user: (value) => typeof value === 'string',
  presence_penalty: (value) => value === 0,
  frequency_penalty: (value) => value === 0,
  logit_bias: (value) => typeof value === 'object' && Object.keys(value ?? {}).length === 0,
};

/** @throws ApiError for a parameter that this server does not know: ignored, it would not do what its sender means */
export function checkNames(body: Body, { known, withoutEffect }: KnownNames): void {
  for (const [name, value] of Object.entries(body)) {
    if (known.has(name)) continue;
    const isHarmless = Object.hasOwn(withoutEffect, name) ? withoutEffect[name]! : undefined;
    if (isHarmless === undefined) throw invalid(name.slice(0, 100), 'unknown parameter');
    if (!isHarmless(value, body)) throw invalid(name, 'this server cannot do that; leave it out');
  }
}

/** @throws ApiError if the request names another model */
export function checkModel({ model = undefined }: Body & { model?: unknown }, served: string): void {
  if (model === undefined || model === served) return;
  throw new ApiError(`model: this server has ${JSON.stringify(served)} only`, {
    status: typeof model === 'string' ? 404 : 400,
    param: 'model',
    code: 'model_not_found',
  });
}

/** An answer without streaming is held in memory until its last token. */
export function checkGathered(
  texts: number,
  { maxTokens, logprobs = 0 }: Pick<TextRequest, 'maxTokens' | 'logprobs'>,
): void {
  const most = Math.floor(requestLimits.gathered / texts / (1 + logprobs));
  if (maxTokens <= most) return;
  const of = `${texts === 1 ? 'one text' : `${texts} texts`}${logprobs > 0 ? ` with logprobs of ${logprobs}` : ''}`;
  throw invalid('max_tokens', `an answer of ${of} has up to ${most} tokens each; ask for fewer, or set stream`);
}

/**
 * How tokens are chosen, and the texts that end an answer.
 * @param temperature of a request that names none
 */
export function samplingOf(
  body: Body,
  temperature = 1,
): Pick<TextRequest, 'temperature' | 'topP' | 'topK' | 'minP' | 'repetitionPenalty' | 'stop'> {
  return {
    temperature: number(body, 'temperature', { min: 0, max: 100, fallback: temperature }),
    topP: number(body, 'top_p', { min: 1e-4, max: 1, fallback: 1 }),
    topK: number(body, 'top_k', { min: 0, max: 2 ** 31, whole: true, fallback: 0 }),
    minP: number(body, 'min_p', { min: 0, max: 1, fallback: 0 }),
    repetitionPenalty: number(body, 'repetition_penalty', { min: 0.01, max: 100, fallback: 1 }),
    stop: stopsOf(body),
  };
}

/** The seed; `fallback` for a request that names none. */
export function seedOf(body: Body, fallback: () => number): number {
  return number(body, 'seed', { min: 0, max: 2 ** 32 - 1, whole: true, fallback: fallback() });
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

/** Whether a stream ends with the number of tokens. */
export function includesUsage(body: Body): boolean {
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

/** A number in its range. */
export function number(body: Body, name: string, { min, max, whole = false, fallback }: Range): number {
  const value = body[name] ?? fallback;
  if (typeof value === 'number' && value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
  const expected = `expected ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}`;
  throw invalid(name, `${expected}, received ${shown(value)}`);
}

/** True or false; left out, it is false. */
export function flag(body: Body, name: string): boolean {
  const value = body[name] ?? false;
  if (typeof value === 'boolean') return value;
  throw invalid(name, `expected true or false, received ${shown(value)}`);
}

/** A short form for messages. Nested values are not written out, because their depth has no bound. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' && value !== null ? 'an object' : JSON.stringify(value).slice(0, 100);
}
