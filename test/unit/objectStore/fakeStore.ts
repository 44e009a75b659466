/** An object store in this process, on loopback: it keeps objects in memory, checks every signature and body, and fails when asked to. */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { authorization } from '../../../src/objectStore/signature.ts';

export const fakeKeys = { accessKeyId: 'AKIATEST', secretAccessKey: 'a secret that no message may have' };

/** A certificate of 127.0.0.1 for a hundred years, with its key: `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=lockstep-test -addext subjectAltName=IP:127.0.0.1`. */
export const certificate = join(import.meta.dirname, 'fixtures/loopback.pem');

/** `lost`: it is not carried out. `unanswered`: it is, but the answer is lost. `silent`: nothing happens. `ExpiredToken`: so refused. A number: refused with this status. */
export type Fault = 'lost' | 'unanswered' | 'silent' | 'ExpiredToken' | number;

interface FakeObject {
  readonly body: Buffer;
  readonly tag: string;
  readonly metadata: Record<string, string>;
  readonly changed: Date;
}

interface FakeUpload {
  readonly key: string;
  readonly metadata: Record<string, string>;
  readonly parts: Map<number, Buffer>;
  started: Date;
  /** When its newest part arrived. */
  changed: Date;
}

export class FakeStore {
  readonly bucket = 'bucket';
  readonly objects = new Map<string, FakeObject>();
  readonly uploads = new Map<string, FakeUpload>();
  /** Every request that arrived: `PUT a/b?partNumber=1`. */
  readonly requests: string[] = [];
  /** Asked before each request, which is the number `count` from 0 on. */
  fault: (count: number, request: string) => Fault | undefined = () => undefined;
  /** What a ranged read sends instead of the bytes of an object. */
  damage: (key: string, bytes: Buffer) => Buffer = (_, bytes) => bytes;
  /** Requests whose signature did not cover their body. */
  readonly unsigned: string[] = [];
  /** Connections so far. */
  connections = 0;
  /** Objects in one answer. */
  pageSize = 1000;
  endpoint = '';

  /** @param isEncrypted over TLS, with {@link certificate} */
  static async open(isEncrypted = false): Promise<FakeStore> {
    const store = new FakeStore();
    const answer = (request: IncomingMessage, response: ServerResponse) => void store.#answer(request, response);
    const pem = isEncrypted ? readFileSync(certificate) : undefined;
    const server = pem === undefined ? createServer(answer) : createSecureServer({ key: pem, cert: pem }, answer);
    server.on('connection', () => {
      store.connections += 1;
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    store.endpoint = `${isEncrypted ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return store;
  }

  /** What a client finds in its environment. */
  get env(): Record<string, string> {
    return {
      AWS_ACCESS_KEY_ID: fakeKeys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: fakeKeys.secretAccessKey,
      AWS_ENDPOINT_URL_S3: this.endpoint,
      ...(this.endpoint.startsWith('https') && { AWS_CA_BUNDLE: certificate }),
      AWS_CONFIG_FILE: '/nonexistent',
      AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
    };
  }

  /** Lets this process use the store by its environment until the end of the test. */
  use(): void {
    const before = { ...process.env };
    Object.assign(process.env, this.env);
    onTestFinished(() => {
      for (const name of Object.keys(this.env)) delete process.env[name];
      Object.assign(process.env, before);
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const body = Buffer.concat(pieces);
    const url = new URL(request.url!, this.endpoint);
    const [, bucket, ...segments] = url.pathname.split('/').map(decodeURIComponent);
    const key = segments.join('/');
    const name = `${request.method} ${key}${url.search}`;
    const fault = this.fault(this.requests.length, name);
    this.requests.push(name);
    if (fault === 'lost') return void request.socket.destroy();
    if (fault === 'silent') return;
    if (fault === 'ExpiredToken') return refuse(response, 400, fault, 'The provided token has expired.');
    if (typeof fault === 'number') return refuse(response, fault, 'Fault', 'as the test wants it');
    const problem = signatureProblem(request, url, body);
    if (problem !== undefined) return refuse(response, 403, 'SignatureDoesNotMatch', problem);
    if (request.headers['x-amz-content-sha256'] === 'UNSIGNED-PAYLOAD') this.unsigned.push(name);
    if (bucket !== this.bucket) return refuse(response, 404, 'NoSuchBucket', 'The bucket does not exist');
    if (fault === 'unanswered') {
      response.write = response.end = (() => response) as never;
      response.writeHead = (() => response) as never;
      this.#carryOut(request, response, { url, key, body });
      return void request.socket.destroy();
    }
    this.#carryOut(request, response, { url, key, body });
  }

  #carryOut(
    request: IncomingMessage,
    response: ServerResponse,
    { url, key, body }: { url: URL; key: string; body: Buffer },
  ) {
    const query = url.searchParams;
    const id = query.get('uploadId') ?? '';
    const upload = this.uploads.get(id);
    const metadata = Object.fromEntries(
      Object.entries(request.headers).filter(([name]) => name.startsWith('x-amz-meta-')) as [string, string][],
    );
    if (id !== '' && (upload === undefined || upload.key !== key)) return refuse(response, 404, 'NoSuchUpload', '');
    if (key === '') return send(response, query.has('uploads') ? this.#uploadList(query) : this.#list(query));
    switch (request.method) {
      case 'PUT':
        if (upload === undefined) this.put(key, body, metadata);
        else upload.parts.set(Number(query.get('partNumber')), body);
        return send(response, '', { etag: `"${tagOf(body)}"` });
      case 'POST': {
        if (upload === undefined) {
          const newId = randomBytes(6).toString('hex');
          this.uploads.set(newId, { key, metadata, parts: new Map(), started: new Date(), changed: new Date() });
          return send(response, `<R><UploadId>${newId}</UploadId></R>`);
        }
        const numbers = [...body.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber>/g)].map(([, each]) =>
          Number(each),
        );
        this.put(key, Buffer.concat(numbers.map((each) => upload.parts.get(each)!)), upload.metadata);
        this.uploads.delete(id);
        return send(response, '<CompleteMultipartUploadResult/>');
      }
      case 'DELETE':
        if (upload === undefined) this.objects.delete(key);
        else this.uploads.delete(id);
        response.writeHead(204);
        return void response.end();
      default:
        if (upload !== undefined) return send(response, partList(upload));
        return this.#get(request, response, key);
    }
  }

  put(key: string, body: Buffer, metadata: Record<string, string> = {}): void {
    this.objects.set(key, { body, metadata, tag: tagOf(body), changed: new Date() });
  }

  #get(request: IncomingMessage, response: ServerResponse, key: string) {
    const found = this.objects.get(key);
    if (found === undefined) return refuse(response, 404, 'NoSuchKey', 'The key does not exist');
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const bytes = range ? this.damage(key, found.body.subarray(Number(range[1]), Number(range[2]) + 1)) : found.body;
    response.writeHead(range ? 206 : 200, {
      'content-length': bytes.length,
      etag: `"${found.tag}"`,
      'last-modified': found.changed.toUTCString(),
      ...found.metadata,
    });
    return void response.end(request.method === 'HEAD' ? undefined : bytes);
  }

  #list(query: URLSearchParams): string {
    const after = query.get('continuation-token') ?? '';
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(query.get('prefix') ?? '') && key > after)
      .sort();
    const page = keys.slice(0, this.pageSize);
    const contents = page.map((key) => {
      const { body, changed } = this.objects.get(key)!;
      return `<Contents><Key>${encodeURIComponent(key)}</Key><LastModified>${changed.toISOString()}</LastModified><Size>${body.length}</Size></Contents>`;
    });
    const more = keys.length > page.length;
    const next = more ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
    return `<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>${more}</IsTruncated>${next}${contents.join('')}</ListBucketResult>`;
  }

  #uploadList(query: URLSearchParams): string {
    const found = [...this.uploads].filter(([, { key }]) => key.startsWith(query.get('prefix') ?? ''));
    const items = found.map(
      ([id, { key, started }]) =>
        `<Upload><Key>${encodeURIComponent(key)}</Key><UploadId>${id}</UploadId><Initiated>${started.toISOString()}</Initiated></Upload>`,
    );
    return `<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>${items.join('')}</ListMultipartUploadsResult>`;
  }
}

function partList({ parts, changed }: FakeUpload): string {
  const items = [...parts.keys()].map(
    (number) => `<Part><PartNumber>${number}</PartNumber><LastModified>${changed.toISOString()}</LastModified></Part>`,
  );
  return `<ListPartsResult><IsTruncated>false</IsTruncated>${items.join('')}</ListPartsResult>`;
}

/** The signature is made again from what arrived. */
function signatureProblem({ method, headers }: IncomingMessage, url: URL, body: Buffer): string | undefined {
  const given = headers.authorization ?? '';
  const names = /SignedHeaders=([^,]+)/.exec(given)?.[1]?.split(';') ?? [];
  const unsigned = Object.keys(headers).filter((name) => name.startsWith('x-amz-') && !names.includes(name));
  if (unsigned.length > 0) return `${unsigned} is not signed`;
  const sha256 = createHash('sha256').update(body).digest('hex');
  const claimed = headers['x-amz-content-sha256'];
  const isTrusted = claimed === 'UNSIGNED-PAYLOAD' && url.protocol === 'https:';
  if (claimed !== sha256 && !isTrusted) return 'the body was changed';
  const expected = authorization(
    {
      method: method!,
      path: url.pathname,
      query: [...url.searchParams],
      headers: Object.fromEntries(names.map((name) => [name, String(headers[name])])),
      sha256: isTrusted ? claimed : sha256,
    },
    { credentials: fakeKeys, region: 'us-east-1', date: String(headers['x-amz-date']) },
  );
  return given === expected ? undefined : 'another signature was expected';
}

function send(response: ServerResponse, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(200, { ...headers, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' });
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`);
}

function tagOf(body: Buffer): string {
  return createHash('md5').update(body).digest('hex');
}
