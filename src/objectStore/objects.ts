/** Puts, reads, lists and deletes objects of a bucket, and parts of objects that are too big for one request. */
import { randomUUID } from 'node:crypto';
import { PeerError, UserError } from '../base/errors.ts';
import type { BucketClient } from './client.ts';
import { elementsOf, escaped, textOf, textsOf } from './xml.ts';

/** What a store knows of an object. */
export interface ObjectFacts {
  readonly bytes: number;
  /** Differs after a change. */
  readonly tag: string;
  readonly changedMs: number;
  /** Names in lower case, without `x-amz-meta-`. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface ListedObject {
  readonly key: string;
  readonly bytes: number;
  readonly changedMs: number;
}

/** An upload in parts that is neither complete nor aborted. */
export interface OpenUpload {
  readonly key: string;
  readonly id: string;
  readonly startedMs: number;
}

const metadataPrefix = 'x-amz-meta-';
/** Recognises the object of an upload whose completion was answered by a lost message. */
const uploadMark = 'lockstep-upload';
const missing = ['NoSuchKey', 404];
/** Answers of a few hundred bytes. */
const answerBytesMax = 2 ** 20;
/** A list of up to 1,000 parts. */
const listBytesMax = 2 ** 20;

type Metadata = Readonly<Record<string, string>>;

export async function putObject(
  client: BucketClient,
  key: string,
  body: Uint8Array,
  options: { readonly sha256?: string; readonly metadata?: Metadata; readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { sha256, metadata = {}, signal } = options;
  const request = {
    action: 'PUT',
    key,
    body,
    headers: metadataHeaders(metadata),
    bytesMax: answerBytesMax,
    signal,
  } as const;
  const { headers } = await client.send({ ...request, ...(sha256 !== undefined && { sha256 }) });
  if (!headers.etag) throw new PeerError(`${client.pathOf(key)}: its store did not confirm that it has it`);
}

/**
 * The bytes of an object from `start` to before `end`.
 * @param tag the object's, which must not have changed
 * @returns undefined if there is no such object
 * @throws PeerError if it has changed or is shorter
 */
export async function getRange(
  client: BucketClient,
  key: string,
  {
    start,
    end,
    tag,
    signal,
  }: { start: number; end: number; tag?: string | undefined; signal?: AbortSignal | undefined },
): Promise<Buffer | undefined> {
  const bytes = end - start;
  if (bytes === 0) return Buffer.alloc(0);
  const { body, status, headers, refusal } = await client.send({
    action: 'GET',
    key,
    headers: { range: `bytes=${start}-${end - 1}` },
    bytesMax: bytes,
    expected: [...missing, 416],
    signal,
  });
  if (refusal?.status === 404) return undefined;
  const found = tagOf(headers.etag);
  if (refusal !== undefined || body.length !== bytes || (status === 200 && start > 0)) {
    throw new PeerError(
      `${client.pathOf(key)}: it ends before byte ${end}, or its store does not send parts of objects`,
    );
  }
  if (tag !== undefined && found !== tag) throw new PeerError(`${client.pathOf(key)} was replaced while it was read`);
  return body;
}

/** A small object as it is at one moment; undefined if there is none. @throws PeerError if it is larger than `bytesMax` */
export async function getObject(
  client: BucketClient,
  key: string,
  bytesMax: number,
  signal?: AbortSignal,
): Promise<Buffer | undefined> {
  const { body, refusal } = await client.send({ action: 'GET', key, bytesMax, expected: missing, signal });
  return refusal === undefined ? body : undefined;
}

/** Undefined if there is no such object. */
export async function headObject(client: BucketClient, key: string): Promise<ObjectFacts | undefined> {
  const { headers, refusal } = await client.send({ action: 'HEAD', key, expected: missing });
  if (refusal !== undefined) return undefined;
  const metadata = Object.entries(headers)
    .filter(([name, value]) => name.startsWith(metadataPrefix) && typeof value === 'string')
    .map(([name, value]) => [name.slice(metadataPrefix.length), value as string]);
  const bytes = Number(headers['content-length'] ?? Number.NaN);
  if (!Number.isSafeInteger(bytes)) throw new PeerError(`${client.pathOf(key)}: its store does not say how long it is`);
  return {
    bytes,
    tag: tagOf(headers.etag),
    changedMs: Date.parse(headers['last-modified'] ?? ''),
    metadata: Object.fromEntries(metadata),
  };
}

/** The objects whose keys begin with `prefix`, sorted; the store sends 1,000 at a time. */
export async function* listObjects(
  client: BucketClient,
  prefix: string,
): AsyncGenerator<ListedObject, void, undefined> {
  for await (const page of pagesOf(client, [['prefix', prefix]])) {
    for (const each of elementsOf(page, 'Contents')) {
      yield {
        key: keyIn(each, page, 'Key'),
        bytes: Number(textOf(each, 'Size')),
        changedMs: Date.parse(textOf(each, 'LastModified') ?? ''),
      };
    }
  }
}

/** Whether any key begins with `prefix`. */
export async function hasObjects(client: BucketClient, prefix: string): Promise<boolean> {
  const query = [
    ['list-type', '2'],
    ['prefix', prefix],
    ['max-keys', '1'],
  ] as const;
  const { body } = await client.send({ action: 'LIST', key: '', query });
  return elementsOf(answerIn(client, body, 'ListBucketResult'), 'Contents').length > 0;
}

async function* pagesOf(client: BucketClient, query: readonly (readonly [string, string])[]) {
  let token: string | undefined;
  do {
    const from: [string, string][] = token === undefined ? [] : [['continuation-token', token]];
    const { body } = await client.send({
      action: 'LIST',
      key: '',
      query: [['list-type', '2'], ['encoding-type', 'url'], ...query, ...from],
    });
    const page = answerIn(client, body, 'ListBucketResult');
    yield page;
    token = textOf(page, 'IsTruncated') === 'true' ? textOf(page, 'NextContinuationToken') : undefined;
  } while (token !== undefined);
}

function keyIn(element: string, page: string, name: string): string {
  const text = textOf(element, name) ?? '';
  return textOf(page, 'EncodingType') === 'url' ? decodeURIComponent(text.replaceAll('+', ' ')) : text;
}

/** Does nothing if there is no such object. */
export async function deleteObject(client: BucketClient, key: string, signal?: AbortSignal): Promise<void> {
  await client.send({ action: 'DELETE', key, expected: missing, signal });
}

/** Begins an upload in parts. @returns its id, and the mark of its object */
export async function startUpload(
  client: BucketClient,
  key: string,
  { metadata = {}, signal }: { metadata?: Metadata; signal?: AbortSignal | undefined } = {},
): Promise<{ id: string; mark: string; mayHaveTwin: boolean }> {
  const mark = randomUUID();
  const headers = metadataHeaders({ ...metadata, [uploadMark]: mark });
  const { body, isRepeated } = await client.send({ action: 'POST', key, query: [['uploads', '']], headers, signal });
  const id = textOf(body.toString(), 'UploadId');
  if (id === undefined) throw new PeerError(`${client.pathOf(key)}: its store began no upload`);
  return { id, mark, mayHaveTwin: isRepeated };
}

/** @param number from 1 on @returns the tag of the part */
export async function uploadPart(
  client: BucketClient,
  key: string,
  part: {
    readonly id: string;
    readonly number: number;
    readonly body: Uint8Array;
    readonly sha256: string;
    readonly signal: AbortSignal;
  },
): Promise<string> {
  const { id, number, body, sha256, signal } = part;
  const query = [
    ['partNumber', String(number)],
    ['uploadId', id],
  ] as const;
  const { headers } = await client.send({ action: 'PUT', key, query, body, sha256, bytesMax: answerBytesMax, signal });
  if (!headers.etag) throw new PeerError(`${client.pathOf(key)}: its store did not confirm part ${number}`);
  return headers.etag;
}

/** Makes the parts, in order, one object. @throws PeerError if the store no longer has the upload */
export async function completeUpload(
  client: BucketClient,
  key: string,
  { id, mark, tags, signal }: { id: string; mark: string; tags: readonly string[]; signal?: AbortSignal | undefined },
): Promise<void> {
  const parts = tags.map((tag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${escaped(tag)}</ETag></Part>`);
  const xml = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts.join('')}</CompleteMultipartUpload>`;
  const { refusal, body } = await client.send({
    action: 'POST',
    key,
    query: [['uploadId', id]],
    headers: { 'content-type': 'application/xml' },
    body: Buffer.from(xml),
    expected: ['NoSuchUpload'],
    signal,
  });
  if (refusal === undefined && body.includes('<CompleteMultipartUploadResult')) return;
  // An attempt whose answer was lost has completed it.
  const found = await headObject(client, key);
  if (found?.metadata[uploadMark] === mark) return;
  throw new PeerError(`${client.pathOf(key)}: the store has lost its upload, or another program has aborted it`);
}

/** Does nothing if it is no longer open. */
export async function abortUpload(client: BucketClient, key: string, id: string): Promise<void> {
  await client.send({ action: 'DELETE', key, query: [['uploadId', id]], expected: ['NoSuchUpload', 404] });
}

/** When the newest part of an open upload arrived, or it began; undefined if it is no longer open. */
export async function uploadChangedMs(client: BucketClient, upload: OpenUpload): Promise<number | undefined> {
  let newest = upload.startedMs;
  for (let marker: string | undefined = '0'; marker !== undefined; ) {
    const { body, refusal } = await client.send({
      action: 'GET',
      key: upload.key,
      query: [
        ['part-number-marker', marker],
        ['uploadId', upload.id],
      ],
      bytesMax: listBytesMax,
      expected: ['NoSuchUpload', 404],
    });
    if (refusal !== undefined) return undefined;
    const page = answerIn(client, body, 'ListPartsResult');
    for (const part of elementsOf(page, 'Part'))
      newest = Math.max(newest, Date.parse(textOf(part, 'LastModified') ?? ''));
    marker = textOf(page, 'IsTruncated') === 'true' ? textOf(page, 'NextPartNumberMarker') : undefined;
  }
  return newest;
}

/** The open uploads of keys that begin with `prefix`. */
export async function listUploads(client: BucketClient, prefix: string): Promise<OpenUpload[]> {
  const found: OpenUpload[] = [];
  let markers: [string, string][] = [];
  for (;;) {
    const query = [['uploads', ''], ['prefix', prefix], ['encoding-type', 'url'], ...markers] as [string, string][];
    const { body } = await client.send({ action: 'LIST', key: '', query });
    const page = answerIn(client, body, 'ListMultipartUploadsResult');
    for (const each of elementsOf(page, 'Upload')) {
      const [id = ''] = textsOf(each, 'UploadId');
      found.push({ key: keyIn(each, page, 'Key'), id, startedMs: Date.parse(textOf(each, 'Initiated') ?? '') });
    }
    const next = keyIn(page, page, 'NextKeyMarker');
    if (textOf(page, 'IsTruncated') !== 'true' || next === '') return found;
    markers = [
      ['key-marker', next],
      ['upload-id-marker', textOf(page, 'NextUploadIdMarker') ?? ''],
    ];
  }
}

/**
 * The text of an answer. A web page that says 200 is not an empty list.
 * @throws UserError if what answers is not an object store
 */
function answerIn(client: BucketClient, body: Buffer, element: string): string {
  const text = body.toString();
  if (text.includes(`<${element}`)) return text;
  throw new UserError(
    `${client.pathOf('')}: what answers is not an object store. Expected a ${element}, received ${JSON.stringify(text.slice(0, 60))}: check AWS_ENDPOINT_URL_S3`,
  );
}

function metadataHeaders(metadata: Metadata): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [`${metadataPrefix}${name}`, value]));
}

/** Stores differ in whether they quote it. */
function tagOf(header: string | undefined): string {
  return (header ?? '').replaceAll('"', '');
}
