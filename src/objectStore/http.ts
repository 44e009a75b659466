/** One HTTP request, over kept connections, with bounded time and a bounded response. Retries and meaning are those of client.ts. */
import { readFileSync } from 'node:fs';
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { rootCertificates } from 'node:tls';
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import { durationOf } from '../base/numberText.ts';

export interface HttpRequest {
  readonly method: string;
  /** With the query, encoded. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  /** The most bytes that the response may have. */
  readonly bytesMax: number;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface HttpTimes {
  /** A connection on which nothing moves for this long is given up. */
  readonly idleMs: number;
  /** A request that takes longer in all is given up. */
  readonly totalMs: number;
}

const socketsMost = 16;
const sliceBytes = 2 ** 20;
/** What a store says about an error. */
const errorBytesMax = 2 ** 20;

export class HttpClient {
  readonly #origin: URL;
  readonly #agent: HttpAgent;
  readonly #times: HttpTimes;

  /** @param certificates a file of certificates to trust beside those of Node */
  constructor(origin: string, times: HttpTimes, certificates?: string) {
    this.#origin = new URL(origin);
    this.#times = times;
    const options = { keepAlive: true, maxSockets: socketsMost };
    this.#agent =
      this.#origin.protocol === 'https:'
        ? new HttpsAgent({
            ...options,
            ...(certificates && { ca: [...rootCertificates, readCertificates(certificates)] }),
          })
        : new HttpAgent(options);
  }

  /** The value of the header `host`. */
  get host(): string {
    return this.#origin.host;
  }

  /** @throws the system's error, or PeerError for an answer that is too long, cut off or late */
  send(request: HttpRequest): Promise<HttpResponse> {
    const { method, target, headers, body, signal } = request;
    const send = this.#origin.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise<HttpResponse>((resolve, reject) => {
      const { hostname, port } = this.#origin;
      const call = send({
        method,
        // Without the brackets of an IPv6 address.
        hostname: hostname.replace(/^\[(.*)\]$/, '$1'),
        port,
        path: target,
        headers: { ...headers, 'content-length': body?.length ?? 0 },
        agent: this.#agent,
        ...(signal && { signal }),
      });
      const late = (what: string) => call.destroy(new PeerError(what));
      const { idleMs, totalMs } = this.#times;
      call.setTimeout(idleMs, () => late(`nothing moved for ${durationOf(idleMs)}`));
      const timer = setTimeout(() => late(`it took longer than ${durationOf(totalMs)}`), totalMs);
      const end = (settle: () => void) => {
        clearTimeout(timer);
        settle();
      };
      call.on('error', (error) => end(() => reject(error)));
      call.on('response', (response) => {
        if (method === 'HEAD') {
          // Some stores send a body with a refusal all the same, which nothing on this connection can follow.
          end(() => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.alloc(0) }));
          if ((response.statusCode ?? 0) >= 300) call.destroy();
          else response.resume();
          return;
        }
        readBody(response, request).then(
          (read) => {
            // A refusal may come before the end of the body, which then nobody reads.
            if (!call.writableFinished) call.destroy();
            end(() => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: read }));
          },
          (error: Error) => {
            call.destroy();
            end(() => reject(error));
          },
        );
      });
      writeBody(call, body ?? new Uint8Array(0));
    });
  }
}

/** In slices, since encryption copies what it is given. */
function writeBody(call: ClientRequest, body: Uint8Array, from = 0): void {
  for (let at = from; at < body.length; ) {
    const next = at + sliceBytes;
    const hasRoom = call.write(body.subarray(at, next));
    at = next;
    if (hasRoom) continue;
    call.once('drain', () => writeBody(call, body, next));
    return;
  }
  call.end();
}

async function readBody(response: IncomingMessage, { bytesMax }: HttpRequest): Promise<Buffer> {
  const limit = (response.statusCode ?? 0) < 300 ? bytesMax : errorBytesMax;
  const announced = Number(response.headers['content-length'] ?? Number.NaN);
  if (announced > limit) {
    throw new PeerError(`it sent ${announced} bytes, at most ${limit} were expected`);
  }
  // Filled piece by piece: to join megabytes at the end would hold up everything else.
  let body = Buffer.allocUnsafe(Number.isNaN(announced) ? 2 ** 16 : announced);
  let bytes = 0;
  for await (const piece of response as AsyncIterable<Buffer>) {
    const end = bytes + piece.length;
    if (end > limit) throw new PeerError(`it sent more than ${limit} bytes`);
    if (end > body.length) body = Buffer.concat([body], Math.max(end, 2 * body.length));
    body.set(piece, bytes);
    bytes = end;
  }
  if (!response.complete || announced > bytes) throw new PeerError('its answer was cut off');
  return body.subarray(0, bytes);
}

function readCertificates(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`AWS_CA_BUNDLE: ${path} cannot be read: ${messageOf(error)}`);
  }
}
