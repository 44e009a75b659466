/**
 * Cuts the sources into chunks of bounded size that can be encoded independently and in any order. Each has a cursor to the position
 * after it. The chunks depend on the content alone.
 */
import { byteStream } from './byteStream.ts';
import { partBytes, partEnd } from './cuts.ts';
import type { Fields } from './fields.ts';
import type { SourceFormat } from './fileKinds.ts';
import type { Source } from './source.ts';

/** Maximum size in bytes of a JSON line, which is held in memory in full. */
const lineBytesMax = 32 * 2 ** 20;
const lineFeed = 0x0a;

interface ChunkBase {
  /** Name of the source. */
  readonly name: string;
}

/** A part of a text file, which is one document. */
export interface TextChunk extends ChunkBase {
  readonly kind: 'text';
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Offset of its first byte in the decompressed file. */
  readonly offset: number;
  readonly isEnd: boolean;
}

/** The origin of a JSON line: a line, an element of an array, or a row of a table (csvLines.ts). */
export type LineUnit = 'line' | 'element' | 'row';

/** Complete lines, each a JSON object with a document in it, or csvLines.ts's form of a row. */
export interface LinesChunk extends ChunkBase {
  readonly kind: 'lines';
  readonly unit: LineUnit;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Counted from 1. */
  readonly firstLine: number;
  /** Set for a single line with more bytes than this, whose bytes are left out. */
  readonly longerThan?: number;
}

/** Cells of a table column, each a document. */
export interface RowsChunk extends ChunkBase {
  readonly kind: 'rows';
  readonly cells: readonly unknown[];
  /** Counted from 1. */
  readonly firstRow: number;
}

export type Chunk = TextChunk | LinesChunk | RowsChunk;

/** A position between two chunks. */
export interface Cursor {
  /** Index of the source. */
  readonly source: number;
  /** Number of decompressed bytes, or rows, before it in the source. */
  readonly offset: number;
  /** Number of lines before it. */
  readonly line: number;
  /** Hash of the bytes of standard input before it. */
  readonly inputSha256?: string;
}

export const beginning: Cursor = { source: 0, offset: 0, line: 0 };

export interface ReadOptions {
  readonly fields: Fields;
  /** Called with the number of additional stored bytes read from the sources. */
  readonly onRead: (bytes: number) => void;
  /** See byteStream.ts. */
  readonly onSkipped?: (bytes: Uint8Array) => void;
  /** Receives the bytes of lines that are too long to hold in memory. */
  readonly onDiscarded?: (bytes: Uint8Array) => void;
}

export interface Reading {
  readonly chunk: Chunk;
  readonly next: Cursor;
  /** The chunk's approximate size in memory. */
  readonly size: number;
}

/** Every chunk from `from` on. @throws UserError for a missing or damaged source */
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

/** The formats that are converted to JSON lines, and the origin of each line. */
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
  // Loaded only here, as are other formats that few runs read: with their packages they are tens of modules.
  const { tableRows } = await import('./parquetRows.ts');
  for await (const { cells, firstRow, size } of tableRows(source, start.offset, partBytes, {
    ...options.fields,
    onRead: options.onRead,
  })) {
    const chunk: RowsChunk = { kind: 'rows', name: source.name, cells, firstRow: firstRow + 1 };
    yield { chunk, next: { ...start, offset: firstRow + cells.length }, size };
  }
}

/** The end of the first block of complete lines of about a part's size. */
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

/** Collects a stream of bytes until a part is complete. */
class PartReader {
  readonly #stream: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  #isDone = false;

  constructor(stream: AsyncIterable<Buffer>) {
    this.#stream = stream[Symbol.asyncIterator]();
  }

  /**
   * The next part, in its own memory; undefined at the end.
   * @param endOf finds the end of the first part in some bytes; undefined if it needs more of them, or if the part is too long to hold
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

  /** Skips the rest of the line, which need not fit in memory. @returns the number of skipped bytes */
  async discardLine(
    onBytes: (bytes: Uint8Array) => void = () => undefined,
  ): Promise<{ length: number; isLast: boolean }> {
    for (let length = 0; ; await this.#fill(1)) {
      const end = this.#held.indexOf(lineFeed) + 1;
      const line = this.#held.subarray(0, end === 0 ? this.#held.length : end);
      onBytes(line);
      length += line.length;
      this.#held = this.#held.subarray(line.length);
      // The next byte, or the end, tells whether this was the last line.
      if (end > 0) await this.#fill(1);
      const isLast = this.#isDone && this.#held.length === 0;
      if (end > 0 || isLast) return { length, isLast };
    }
  }

  /** Reads until `wanted` bytes are available, or the end is known. */
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
