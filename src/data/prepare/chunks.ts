/**
 * Cuts the sources into chunks of bounded size that can be encoded one by one, in any order and by anybody, and knows of each where to
 * go on after it. The chunks are a function of the content alone.
 */
import { byteStream } from './byteStream.ts';
import { partBytes, partEnd } from './cuts.ts';
import type { Fields } from './fields.ts';
import type { SourceFormat } from './fileKinds.ts';
import { tableRows } from './parquetRows.ts';
import type { Source } from './source.ts';

/** Most bytes of one line of JSON: a line is held whole. */
const lineBytesMax = 32 * 2 ** 20;
const lineFeed = 0x0a;

interface ChunkBase {
  /** Of the source. */
  readonly name: string;
}

/** A part of a text file, which is one document. */
export interface TextChunk extends ChunkBase {
  readonly kind: 'text';
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of its first byte in the decompressed file. */
  readonly offset: number;
  readonly isEnd: boolean;
}

/** What a line of JSON was in the source: a line, an element of an array, or a row of a table (csvLines.ts). */
export type LineUnit = 'line' | 'element' | 'row';

/** Whole lines, each a JSON object with a document in it, or what csvLines.ts makes of a row. */
export interface LinesChunk extends ChunkBase {
  readonly kind: 'lines';
  readonly unit: LineUnit;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** From 1. */
  readonly firstLine: number;
  /** A single line with more bytes than this, which are not here. */
  readonly longerThan?: number;
}

/** Cells of a column of a table, each a document. */
export interface RowsChunk extends ChunkBase {
  readonly kind: 'rows';
  readonly cells: readonly unknown[];
  /** From 1. */
  readonly firstRow: number;
}

export type Chunk = TextChunk | LinesChunk | RowsChunk;

/** A place between two chunks. */
export interface Cursor {
  /** Index of the source. */
  readonly source: number;
  /** Decompressed bytes of it, or rows, that lie before. */
  readonly offset: number;
  /** Lines that lie before. */
  readonly line: number;
  /** Of the bytes of standard input that lie before. */
  readonly inputSha256?: string;
}

export const beginning: Cursor = { source: 0, offset: 0, line: 0 };

export interface ReadOptions {
  readonly fields: Fields;
  /** Told how many more bytes of the sources have been read, as stored. */
  readonly onRead: (bytes: number) => void;
  /** See byteStream.ts. */
  readonly onSkipped?: (bytes: Uint8Array) => void;
  /** Sees the bytes of lines that are too long to be held. */
  readonly onDiscarded?: (bytes: Uint8Array) => void;
}

export interface Reading {
  readonly chunk: Chunk;
  readonly next: Cursor;
  /** What the chunk takes in memory, about. */
  readonly size: number;
}

/** Every chunk from `from` on. @throws UserError for a source that is missing or damaged */
export async function* readChunks(
  sources: readonly Source[],
  from: Cursor,
  options: ReadOptions,
): AsyncGenerator<Reading> {
  for (let index = from.source; index < sources.length; index++) {
    const source = sources[index]!;
    const start = index === from.source ? from : { source: index, offset: 0, line: 0 };
    const unit = units[source.format];
    if (unit !== undefined) yield* lineChunks(source, unit, start, options);
    else if (source.format === 'parquet') yield* rowChunks(source, start, options);
    else yield* textChunks(source, start, options);
  }
}

/** The formats of which lines of JSON are made, and what a line was. */
const units: Readonly<Partial<Record<SourceFormat, LineUnit>>> = {
  jsonl: 'line',
  json: 'element',
  csv: 'row',
  tsv: 'row',
};

async function* textChunks(source: Source, start: Cursor, options: ReadOptions): AsyncGenerator<Reading> {
  const reader = new PartReader(byteStream(source, { ...options, from: start.offset }));
  for (let offset = start.offset; ; ) {
    const part = await reader.next((bytes, isLast) => partEnd(bytes, isLast));
    if (part === undefined) return;
    const { bytes, isLast } = part;
    const chunk: TextChunk = { kind: 'text', name: source.name, bytes, offset, isEnd: isLast };
    offset += bytes.length;
    const next = isLast ? { source: start.source + 1, offset: 0, line: 0 } : { ...start, offset };
    yield { chunk, next, size: bytes.length };
  }
}

async function* lineChunks(
  source: Source,
  unit: LineUnit,
  start: Cursor,
  options: ReadOptions,
): AsyncGenerator<Reading> {
  const reader = new PartReader(byteStream(source, { ...options, from: start.offset }));
  let { offset, line } = start;
  for (;;) {
    const part = await reader.next(linesEnd);
    if (part === undefined) return;
    const { bytes, isTooLong } = part;
    const isLong = isTooLong && { longerThan: lineBytesMax };
    const chunk: LinesChunk = { kind: 'lines', unit, name: source.name, bytes, firstLine: line + 1, ...isLong };
    const discarded = isTooLong ? await reader.discardLine(options.onDiscarded) : undefined;
    const isLast = discarded?.isLast ?? part.isLast;
    offset += discarded?.length ?? bytes.length;
    line += discarded ? 1 : lineFeedsIn(bytes);
    const next = isLast ? { source: start.source + 1, offset: 0, line: 0 } : { ...start, offset, line };
    yield { chunk, next, size: bytes.length };
  }
}

async function* rowChunks(source: Source, start: Cursor, options: ReadOptions): AsyncGenerator<Reading> {
  for await (const { cells, firstRow, size } of tableRows(source, start.offset, partBytes, {
    ...options.fields,
    onRead: options.onRead,
  })) {
    const chunk: RowsChunk = { kind: 'rows', name: source.name, cells, firstRow: firstRow + 1 };
    yield { chunk, next: { ...start, offset: firstRow + cells.length }, size };
  }
}

/** The end of the first block of whole lines, of about the size of a part. */
function linesEnd(bytes: Uint8Array, isLast: boolean): number | 'tooLong' | undefined {
  if (bytes.length <= partBytes) return isLast ? bytes.length : undefined;
  const before = bytes.lastIndexOf(lineFeed, partBytes - 1);
  if (before >= 0) return before + 1;
  const after = bytes.indexOf(lineFeed, partBytes);
  if (after >= 0 && after < lineBytesMax) return after + 1;
  if (bytes.length > lineBytesMax) return 'tooLong';
  return isLast ? bytes.length : undefined;
}

function lineFeedsIn(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(lineFeed); at >= 0; at = bytes.indexOf(lineFeed, at + 1)) count++;
  return count;
}

/** Collects a stream of bytes until there is a whole part. */
class PartReader {
  readonly #stream: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  #isDone = false;

  constructor(stream: AsyncIterable<Buffer>) {
    this.#stream = stream[Symbol.asyncIterator]();
  }

  /**
   * The next part, in memory of its own; undefined at the end.
   * @param endOf where the first part of some bytes ends, or undefined if it takes more of them to tell, or that it is too long to be held
   */
  async next(
    endOf: (bytes: Uint8Array, isLast: boolean) => number | 'tooLong' | undefined,
  ): Promise<{ bytes: Uint8Array<ArrayBuffer>; isLast: boolean; isTooLong: boolean } | undefined> {
    for (let wanted = partBytes + 1; ; wanted = 2 * this.#held.length) {
      await this.#fill(wanted);
      if (this.#held.length === 0) return undefined;
      const end = endOf(this.#held, this.#isDone);
      if (end === undefined) continue;
      if (end === 'tooLong') return { bytes: new Uint8Array(0), isLast: false, isTooLong: true };
      const bytes = Uint8Array.from(this.#held.subarray(0, end));
      this.#held = this.#held.subarray(end);
      return { bytes, isLast: this.#isDone && this.#held.length === 0, isTooLong: false };
    }
  }

  /** Passes over the rest of the line, which need not fit in memory. @returns how many bytes that were */
  async discardLine(
    onBytes: (bytes: Uint8Array) => void = () => undefined,
  ): Promise<{ length: number; isLast: boolean }> {
    for (let length = 0; ; await this.#fill(1)) {
      const end = this.#held.indexOf(lineFeed) + 1;
      const line = this.#held.subarray(0, end === 0 ? this.#held.length : end);
      onBytes(line);
      length += line.length;
      this.#held = this.#held.subarray(line.length);
      // Whether it was the last line is known when there is a byte after it, or none.
      if (end > 0) await this.#fill(1);
      const isLast = this.#isDone && this.#held.length === 0;
      if (end > 0 || isLast) return { length, isLast };
    }
  }

  /** Reads until there are `wanted` bytes, or the end is known. */
  async #fill(wanted: number): Promise<void> {
    const parts = [this.#held];
    let length = this.#held.length;
    while (length < wanted && !this.#isDone) {
      const { value, done } = await this.#stream.next();
      if (done) this.#isDone = true;
      else {
        parts.push(value);
        length += value.length;
      }
    }
    if (parts.length > 1) this.#held = Buffer.concat(parts, length);
  }
}
