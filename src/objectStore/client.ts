/**
 * The operations on the objects of one bucket, at Amazon or at any store that speaks S3. Each is one request, which is repeated with growing,
 * random pauses after faults that pass: a lost connection, a late answer, 429 and 5xx. It never relies on conditional PUT, which some stores lack.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import { countOf } from '../base/numberText.ts';
import { objectPath } from '../base/objectPath.ts';
import type { StoreSettings } from './credentials.ts';
import { HttpClient, type HttpResponse, type HttpTimes } from './http.ts';
import { isExpired, isPassing, type Refusal, refusalError, refusalOf, refusalText } from './refusals.ts';
import {
  authorization,
  dateText,
  encodeSegment,
  queryText,
  type SignedRequest,
  sha256Of,
  type unsignedPayload,
} from './signature.ts';

/** When to repeat a request. */
export interface RetryTimes {
  /** Attempts of a request before the store has answered any. */
  readonly attemptsAtFirst: number;
  /** Attempts of a request of a store that has answered before. */
  readonly attempts: number;
  /** The pause before the second attempt, at most; each further one is twice as long. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** No attempt begins later than this: a store that never answers would otherwise hold up the end of a run for minutes. */
  readonly lastAttemptMs: number;
}

/** With these pauses a request is given up after about 6 s, or about a minute if the store has answered before. */
const usualRetries: RetryTimes = {
  attemptsAtFirst: 6,
  attempts: 11,
  firstPauseMs: 250,
  longestPauseMs: 10_000,
  lastAttemptMs: 60_000,
};
const usualTimes: HttpTimes = { idleMs: 30_000, totalMs: 10 * 60_000 };
/** For an answer that lists up to 1,000 objects. */
const listBytesMax = 8 * 2 ** 20;

export interface ClientOptions {
  readonly retries?: Partial<RetryTimes> | undefined;
  readonly times?: Partial<HttpTimes> | undefined;
}

/** One request, before it is signed. */
export interface ObjectRequest {
  /** What it does, for messages and permissions: the method, or `LIST`. */
  readonly action: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE' | 'LIST';
  /** '' is the bucket. */
  readonly key: string;
  readonly query?: SignedRequest['query'];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** The hash of the body, if it is known, or {@link unsignedPayload}. */
  readonly sha256?: string;
  readonly bytesMax?: number;
  readonly signal?: AbortSignal | undefined;
  /** Codes and statuses of refusals that the caller understands. */
  readonly expected?: readonly (string | number)[];
}

export interface ObjectResponse extends HttpResponse {
  /** One of those expected. */
  readonly refusal: Refusal | undefined;
  /** Whether an earlier attempt may have been carried out too. */
  readonly isRepeated: boolean;
}

/** How a bucket is reached, for all clients of it. */
interface Connection {
  region: string;
  http: HttpClient;
  hasAnswered: boolean;
}

export class BucketClient {
  readonly bucket: string;
  readonly #settings: StoreSettings;
  readonly #options: ClientOptions;
  readonly #retries: RetryTimes;
  readonly #connection: Connection;

  constructor(bucket: string, settings: StoreSettings, options: ClientOptions = {}, connection?: Connection) {
    this.bucket = bucket;
    this.#settings = settings;
    this.#options = options;
    this.#retries = { ...usualRetries, ...options.retries };
    const { region } = settings;
    this.#connection = connection ?? { region, http: this.#connect(region), hasAnswered: false };
  }

  /** The same bucket over the same connections, with one attempt a request: for what may also be done later. */
  once(): BucketClient {
    const retries = { ...this.#retries, attemptsAtFirst: 1, attempts: 1 };
    return new BucketClient(this.bucket, this.#settings, { ...this.#options, retries }, this.#connection);
  }

  /** Whether TLS keeps bodies from being changed on their way. */
  get isEncrypted(): boolean {
    return this.endpoint.startsWith('https:');
  }

  /** The path of a key, for messages. */
  pathOf(key: string): string {
    return objectPath({ bucket: this.bucket, key });
  }

  /**
   * Sends a request until the store has carried it out or refused it.
   * @throws UserError for what the user can fix: keys, rights, the bucket; PeerError if the store cannot be reached or fails
   */
  async send(request: ObjectRequest): Promise<ObjectResponse> {
    let isRepeated = false;
    const beganMs = performance.now();
    for (let attempt = 1; ; attempt++) {
      const failure = await this.#attempt(request);
      if ('response' in failure) return { ...failure.response, refusal: failure.refusal, isRepeated };
      isRepeated = true;
      const attempts = this.#connection.hasAnswered ? this.#retries.attempts : this.#retries.attemptsAtFirst;
      const isLate = performance.now() - beganMs > this.#retries.lastAttemptMs;
      if (attempt >= attempts || isLate) {
        throw new PeerError(
          `${this.pathOf(request.key)}: ${request.action} failed ${countOf(attempt, 'time')} at ${this.endpoint}, at last because ${failure.reason}`,
          { cause: failure.error },
        );
      }
      const { firstPauseMs, longestPauseMs } = this.#retries;
      const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** (attempt - 1));
      await sleep(pauseMs * (0.5 + Math.random() / 2), undefined, { signal: request.signal });
    }
  }

  async #attempt(
    request: ObjectRequest,
  ): Promise<{ response: HttpResponse; refusal: Refusal | undefined } | { reason: string; error?: unknown }> {
    let response: HttpResponse;
    let signedFor: string;
    try {
      [response, signedFor] = await this.#signAndSend(request);
    } catch (error) {
      if (error instanceof UserError || request.signal?.aborted) throw error;
      return { reason: messageOf(error), error };
    }
    const refusal = refusalOf(response);
    this.#connection.hasAnswered ||= refusal === undefined;
    if (refusal === undefined || isExpected(refusal, request)) return { response, refusal };
    if (isPassing(refusal)) return { reason: refusalText(refusal) };
    if (isExpired(refusal) && this.#settings.keys.renew()) {
      return { reason: refusalText(refusal) };
    }
    const region = response.headers['x-amz-bucket-region'];
    if (typeof region === 'string' && region !== signedFor && this.#settings.endpoint === undefined) {
      // Unless another request has done so meanwhile.
      if (signedFor === this.#connection.region) this.#moveTo(region);
      return { reason: `the bucket is in the region ${region}` };
    }
    throw refusalError(refusal, {
      path: this.pathOf(request.key),
      bucket: this.bucket,
      action: request.action,
      keys: this.#settings.keys.source,
      endpoint: this.endpoint,
    });
  }

  /** @returns the answer, and the region that the request was signed for */
  async #signAndSend(request: ObjectRequest): Promise<[HttpResponse, string]> {
    const { action, key, query = [], body, bytesMax = listBytesMax, signal } = request;
    const credentials = await this.#settings.keys.get();
    // Read together: another request may move the connection while this one is on its way.
    const { region, http } = this.#connection;
    const sha256 = request.sha256 ?? sha256Of(body ?? '');
    const method = action === 'LIST' ? 'GET' : action;
    const date = dateText(new Date());
    const headers = {
      ...request.headers,
      host: http.host,
      'x-amz-content-sha256': sha256,
      'x-amz-date': date,
      ...(credentials.sessionToken !== undefined && { 'x-amz-security-token': credentials.sessionToken }),
    };
    const path = this.#targetOf(key);
    const signature = authorization({ method, path, query, headers, sha256 }, { credentials, region, date });
    const response = await http.send({
      method,
      target: query.length === 0 ? path : `${path}?${queryText(query)}`,
      headers: { ...headers, authorization: signature },
      body,
      bytesMax,
      signal,
    });
    return [response, region];
  }

  /** Amazon wants the bucket in the name of the host, others in the path. A name with dots fits no certificate. */
  get #isInHost(): boolean {
    return this.#settings.endpoint === undefined && /^[a-z0-9-]+$/.test(this.bucket);
  }

  /** Where requests go, for messages. */
  get endpoint(): string {
    return this.#endpointIn(this.#connection.region);
  }

  #endpointIn(region: string): string {
    return this.#settings.endpoint ?? `https://s3.${region}.amazonaws.com`;
  }

  #targetOf(key: string): string {
    const prefix = new URL(this.endpoint).pathname.replace(/\/+$/, '');
    const segments = [...(this.#isInHost ? [] : [this.bucket]), ...(key === '' ? [] : key.split('/'))];
    return `${prefix}/${segments.map(encodeSegment).join('/')}`;
  }

  #connect(region: string): HttpClient {
    const origin = new URL(this.#endpointIn(region));
    if (this.#isInHost) origin.hostname = `${this.bucket}.${origin.hostname}`;
    return new HttpClient(origin.origin, { ...usualTimes, ...this.#options.times }, this.#settings.certificates);
  }

  /** Requests on their way end over the former connections, which then close by themselves. */
  #moveTo(region: string): void {
    this.#connection.region = region;
    this.#connection.http = this.#connect(region);
  }
}

/** A bucket that does not exist is never the answer to a question for an object. */
function isExpected({ code, status }: Refusal, { expected = [] }: ObjectRequest): boolean {
  return expected.includes(code) || (expected.includes(status) && code !== 'NoSuchBucket');
}
