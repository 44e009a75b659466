/**
 * The decompressed bytes of a source, in order, from a given position; at most a few chunks are in memory. JSON arrays and tables are
 * converted to JSON lines.
 */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { errorCode, messageOf, UserError } from '../../base/errors.ts';
import { readFailure } from '../../base/strictJson.ts';
import { damagedSource } from './damagedSource.ts';
import type { Fields } from './fields.ts';
import { type Compression, compressionOf } from './fileKinds.ts';
import { arrayLines } from './jsonArray.ts';
import type { Source } from './source.ts';

const READ_BYTES = 2 ** 18;

export interface ByteStreamOptions {
  /** Number of output bytes to skip. */
  readonly from: number;
  /** The column of a table to read. */
  readonly fields: Pick<Fields, 'field' | 'fieldSetting'>;
  /** Called with the number of additional stored bytes read from the source. */
  readonly onRead?: (bytes: number) => void;
  /** Receives the skipped bytes, for standard input, which cannot be compared in any other way. */
  readonly onSkipped?: (bytes: Uint8Array) => void;
}

/** @throws UserError for a missing or damaged source, PeerError when the disk fails */
export async function* byteStream(source: Source, options: ByteStreamOptions): AsyncGenerator<Buffer> {
  const { from, onRead = () => undefined, onSkipped = () => undefined } = options;
  if (source.compression === 'none' && (source.format === 'text' || source.format === 'jsonl')) {
    // Starts at the position; the bytes before it count as read.
    onRead(from);
    yield* stored(source, from, onRead);
    return;
  }
  let left = from;
  for await (const chunk of await converted(source, options.fields, decompressed(source, onRead))) {
    const skipped = Math.min(left, chunk.length);
    if (skipped > 0) onSkipped(chunk.subarray(0, skipped));
    left -= skipped;
    if (skipped < chunk.length) yield chunk.subarray(skipped);
  }
}

async function converted(source: Source, fields: ByteStreamOptions['fields'], bytes: AsyncGenerator<Buffer>) {
  const { name, format } = source;
  if (format === 'json') return arrayLines(bytes, name);
  if (format !== 'csv' && format !== 'tsv') return bytes;
  const { csvLines } = await import('./csvLines.ts');
  return csvLines(bytes, { ...fields, name, format });
}

async function* decompressed(source: Source, onRead: (bytes: number) => void): AsyncGenerator<Buffer> {
  const bytes = stored(source, 0, onRead);
  if (source.compression !== 'sniff') {
    yield* decompress(source.compression, bytes, source.name);
    return;
  }
  const { value: first, done } = await bytes.next();
  if (done) return;
  yield* decompress(compressionOf(first), prepend(first, bytes), source.name);
}

async function* stored(
  { path, name }: Source,
  start: number,
  onRead: (bytes: number) => void,
): AsyncGenerator<Buffer, undefined> {
  const stream = path === undefined ? process.stdin : createReadStream(path, { start, highWaterMark: READ_BYTES });
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      onRead(chunk.length);
      yield chunk;
    }
  } catch (error) {
    throw readFailure(name, error);
  }
}

async function* prepend(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

async function* decompress(
  compression: Compression,
  bytes: AsyncIterable<Buffer>,
  name: string,
): AsyncGenerator<Buffer> {
  if (compression === 'none') {
    yield* bytes;
    return;
  }
  try {
    yield* compression === 'zstd' ? (await import('./zstdFrames.ts')).unzstd(bytes) : gunzip(bytes);
  } catch (error) {
    if (error instanceof UserError || errorCode(error).startsWith('E')) throw error;
    throw damagedSource(name, `${compression} data`, damageOf(error), error);
  }
}

/** zlib's codes; what zstdFrames.ts throws says what is wrong. */
function damageOf(error: unknown): string {
  switch (errorCode(error)) {
    case '':
      return messageOf(error);
    case 'Z_BUF_ERROR':
      return 'it is cut off';
    default:
      return 'its content is damaged or something else';
  }
}

async function* gunzip(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const stream = createGunzip({ chunkSize: READ_BYTES });
  // Errors of either come out of the stream that is read here.
  pipeline(Readable.from(bytes), stream).catch(() => undefined);
  yield* stream as AsyncIterable<Buffer>;
}
