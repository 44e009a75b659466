/**
 * Encodes chunks to tokens, in the threads of `launch prepare`. The tokenizer's begin tokens precede each document. The end-of-text
 * token follows it, or a line feed if the tokenizer has no such token. Errors name the file and the byte, line or row.
 */
import { UserError } from '../../base/errors.ts';
import { type LineEndings, withLineEndings } from '../lineEndings.ts';
import { type TokenArray, TokenBuffer } from '../tokenArray.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { decodeUtf8 } from '../utf8.ts';
import type { Chunk, LinesChunk, LineUnit, RowsChunk, TextChunk } from './chunks.ts';
import type { CsvRow } from './csvLines.ts';
import type { Fields } from './fields.ts';

const lineFeed = 0x0a;
/** Maximum number of skipped documents that are reported one by one. */
const toldMax = 10;

export interface EncodeJob {
  readonly chunks: readonly Chunk[];
  readonly fields: Fields;
  /** Skip lines and rows without text instead of failing. */
  readonly skipBad: boolean;
  readonly lineEndings: LineEndings;
}

export interface EncodedJob {
  readonly tokens: TokenArray;
  /** For each document that ends in this job, the number of the job's tokens up to its end. */
  readonly documentEnds: readonly number[];
  /** Size of the text in UTF-8 bytes. */
  readonly textBytes: number;
  /** Number of skipped documents, and the errors of the first of them. */
  readonly skipped: number;
  readonly told: readonly string[];
  /** Number of line ends converted from CRLF to LF. */
  readonly normalised: number;
}

/** An error in the user's data. It is plain data, because an error's class would be lost between threads. */
export interface BadData {
  readonly problem: string;
}

/** A document or a part of one. */
interface Text {
  readonly text: string;
  readonly isStart: boolean;
  readonly isEnd: boolean;
}

/** Encodes jobs with one tokenizer. Has no other state. */
export class JobEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #endOfText: number | undefined;

  constructor(tokenizer: Tokenizer, endOfText: number | undefined) {
    this.#tokenizer = tokenizer;
    this.#endOfText = endOfText;
  }

  encode(job: EncodeJob): EncodedJob | BadData {
    return orBadData(() => {
      const tokens = new TokenBuffer(this.#tokenizer.vocabSize, 2 ** 18);
      const documentEnds: number[] = [];
      const reader = new JobReader(job);
      const { beginTokens = [] } = this.#tokenizer;
      for (const { text, isStart, isEnd } of reader.texts()) {
        if (isStart) for (const token of beginTokens) tokens.push(token);
        const isClosed = !isEnd || this.#endOfText !== undefined || text.endsWith('\n');
        for (const token of this.#tokenizer.encode(isClosed ? text : `${text}\n`)) tokens.push(token);
        if (!isEnd) continue;
        if (this.#endOfText !== undefined) tokens.push(this.#endOfText);
        documentEnds.push(tokens.length);
      }
      const { textBytes, skipped, told, normalised } = reader;
      return { tokens: tokens.take(), documentEnds, textBytes, skipped, told, normalised };
    });
  }
}

/** The distinct characters of the job, for the vocabulary of a character tokenizer. */
export function charactersOf(job: EncodeJob): { characters: string } | BadData {
  return orBadData(() => {
    const characters = new Set<string>();
    for (const { text, isEnd } of new JobReader(job).texts()) {
      for (const character of text) characters.add(character);
      if (isEnd) characters.add('\n');
    }
    return { characters: [...characters].sort().join('') };
  });
}

/** The texts of the job: documents, or parts of them. */
export function textsOf(job: EncodeJob): Texts | BadData {
  return orBadData(() => {
    const reader = new JobReader(job);
    const texts = Array.from(reader.texts(), ({ text }) => text);
    return { texts, normalised: reader.normalised };
  });
}

export interface Texts extends Pick<EncodedJob, 'normalised'> {
  readonly texts: readonly string[];
}

function orBadData<T>(run: () => T): T | BadData {
  try {
    return run();
  } catch (error) {
    // A UserError comes from the tokenizer, about characters that it lacks.
    if (error instanceof UserError) return { problem: error.message };
    throw error;
  }
}

class JobReader {
  textBytes = 0;
  skipped = 0;
  readonly told: string[] = [];
  normalised = 0;
  readonly #job: EncodeJob;

  constructor(job: EncodeJob) {
    this.#job = job;
  }

  *texts(): Generator<Text> {
    for (const chunk of this.#job.chunks) {
      if (chunk.kind === 'text') yield this.#partOf(chunk);
      else if (chunk.kind === 'lines') yield* this.#lines(chunk);
      else yield* this.#rows(chunk);
    }
  }

  #partOf({ name, bytes, offset, isEnd }: TextChunk): Text {
    const advice =
      'give text in UTF-8 (`iconv -f ENCODING -t UTF-8` converts it); of a folder, select files with a glob such as corpus/**/*.txt';
    const zero = bytes.indexOf(0);
    if (zero >= 0) {
      throw new UserError(`${name}: expected text, received a zero byte at offset ${offset + zero}: ${advice}`);
    }
    // At the start of a file, a byte order mark is not part of the text.
    const text = decodeUtf8(bytes, { ignoreBOM: offset > 0 });
    if (text === undefined) {
      const at = offset + firstInvalid(bytes);
      throw new UserError(`${name}: expected text in UTF-8, received bytes that are not, at offset ${at}: ${advice}`);
    }
    return { text: this.#taken(text), isStart: offset === 0, isEnd };
  }

  *#lines({ name, bytes, firstLine, unit, longerThan }: LinesChunk): Generator<Text> {
    const where = (line: number): string => (unit === 'line' ? `${name}:${line}` : `${name}: ${unit} ${line}`);
    if (longerThan !== undefined) {
      const wrong =
        unit === 'line'
          ? `expected a JSON object in each line, but this line has more than ${longerThan} bytes`
          : `expected a shorter ${unit}, but this ${unit} has more than ${longerThan} bytes`;
      yield* this.#document({ wrong }, where(firstLine));
    }
    let line = firstLine;
    for (let start = 0; start < bytes.length; line++) {
      const found = bytes.indexOf(lineFeed, start);
      const end = found < 0 ? bytes.length : found;
      const part = bytes.subarray(start, end);
      start = end + 1;
      const document = unit === 'row' ? parseRow(part) : parseLine(part, unit, this.#job.fields);
      if (document !== undefined) yield* this.#document(document, where(line));
    }
  }

  *#rows({ name, cells, firstRow }: RowsChunk): Generator<Text> {
    for (const [i, cell] of cells.entries()) {
      const document = typeof cell === 'string' ? checkText(cell) : wrong(`a text in ${this.#job.fields.field}`, cell);
      yield* this.#document(document, `${name}: row ${firstRow + i}`);
    }
  }

  *#document(document: { text: string } | Wrong, where: string): Generator<Text> {
    if ('wrong' in document) {
      const message = `${where}: ${document.wrong}`;
      if (!this.#job.skipBad) {
        const { advice } = document;
        throw new UserError(
          advice === undefined ? `${message}; ${this.#job.fields.skipSetting} skips it` : `${message}; ${advice}`,
        );
      }
      this.skipped++;
      if (this.told.length < toldMax) this.told.push(message);
    } else if (document.text !== '') {
      yield { text: this.#taken(document.text), isStart: true, isEnd: true };
    }
  }

  /** The text to encode, counted. */
  #taken(text: string): string {
    const { text: taken, normalised } = withLineEndings(text, this.#job.lineEndings);
    this.normalised += normalised;
    this.textBytes += Buffer.byteLength(taken);
    return taken;
  }
}

interface Wrong {
  readonly wrong: string;
  /** Other advice than to skip the document. */
  readonly advice?: string;
}

/** The document in a JSON line; undefined for a blank line. */
function parseLine(bytes: Uint8Array, unit: LineUnit, fields: Fields): { text: string } | Wrong | undefined {
  const { field, fieldSetting, skipSetting } = fields;
  const line = decodeUtf8(bytes, { ignoreBOM: false });
  if (line === undefined) return { wrong: 'expected JSON in UTF-8, received bytes that are not UTF-8' };
  if (/^\s*$/.test(line)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { wrong: `expected a JSON object, received ${shown(line)}` };
  }
  // A string in an array is a document by itself.
  if (unit === 'element' && typeof value === 'string') return checkText(value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return wrong('a JSON object', value);
  if (!Object.hasOwn(value, field)) {
    const fields = Object.keys(value);
    const wrong = `expected the field ${field}, received ${fields.slice(0, 10).join(', ') || 'none'}`;
    return fields.length === 0
      ? { wrong }
      : { wrong, advice: `${fieldSetting} says which of them has the text, ${skipSetting} leaves out such ${unit}s` };
  }
  const text: unknown = (value as Record<string, unknown>)[field];
  return typeof text === 'string' ? checkText(text) : wrong(`a text in ${field}`, text);
}

/** The document in csvLines.ts's form of a row. */
function parseRow(bytes: Uint8Array): { text: string } | Wrong | undefined {
  if (bytes.length === 0) return undefined;
  const row = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()) as CsvRow;
  return typeof row === 'string' ? checkText(row) : row;
}

function checkText(text: string): { text: string } | { wrong: string } {
  if (text.includes('\0')) return { wrong: 'expected text, received a zero character' };
  if (!text.isWellFormed()) return { wrong: 'expected text, received half a surrogate pair' };
  return { text };
}

function wrong(expected: string, value: unknown): { wrong: string } {
  const found = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? String(value));
  return { wrong: `expected ${expected}, received ${shown(found)}` };
}

function shown(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

/** The offset where bytes stop being UTF-8, found by bisection: the end of the longest valid beginning, apart from a cut-off last character. */
function firstInvalid(bytes: Uint8Array): number {
  const isValid = (end: number): boolean => {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, end), { stream: true });
      return true;
    } catch {
      return false;
    }
  };
  let valid = 0;
  let invalid = bytes.length + 1;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >> 1;
    if (middle <= bytes.length && isValid(middle)) valid = middle;
    else invalid = middle;
  }
  return Math.min(valid, bytes.length - 1);
}
