/**
 * Converts one column of a CSV or TSV table to JSON lines, one per row: a string, which is the cell, or an object that describes an error
 * in the row. Tables are then cut, encoded and resumed like lines. In CSV, cells may be quoted as in RFC 4180, and contain line feeds. In TSV
 * quotes are ordinary characters.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type CsvError, parse } from 'csv-parse';
import { UserError } from '../../base/errors.ts';
import { decodeUtf8 } from '../utf8.ts';
import type { Fields } from './fields.ts';
import { UnfinishedRow } from './openQuote.ts';
import { frequentSeparator, separatorSample } from './separator.ts';

/** An unclosed quote would include the rest of the file. */
const rowBytesMax = 32 * 2 ** 20;
/** Size of the pieces passed on at a time. */
const lineBytes = 2 ** 16;

/** The form of a row in a line. */
export type CsvRow = string | { readonly wrong: string };

export interface CsvOptions extends Pick<Fields, 'field' | 'fieldSetting'> {
  readonly format: 'csv' | 'tsv';
  readonly name: string;
}

/** @throws UserError if the column does not exist or a quote is never closed */
export async function* csvLines(bytes: AsyncIterable<Buffer>, options: CsvOptions): AsyncGenerator<Buffer> {
  const { format, name } = options;
  const iterator = bytes[Symbol.asyncIterator]();
  const head = withoutByteOrderMark(await takeHead(iterator));
  const separator = format === 'tsv' ? '\t' : frequentSeparator(head.toString());
  const isQuoted = format === 'csv';
  const unfinished = new UnfinishedRow();
  const parser = parse({
    delimiter: separator,
    // Cells as bytes, because invalid UTF-8 must be noticed.
    encoding: null,
    // How many bytes the rows so far have.
    info: true,
    max_record_size: rowBytesMax,
    relax_column_count: true,
    // A quote inside a cell is an ordinary character, and in TSV every quote.
    ...(isQuoted ? { relax_quotes: true } : { quote: null }),
    skip_empty_lines: true,
  });
  // Errors of either come out of the parser, which is read here.
  pipeline(Readable.from(rest(head, iterator, unfinished)), parser).catch(() => undefined);
  try {
    yield* linesOf(rowsOf(parser as AsyncIterable<ParsedRow>, unfinished), options);
  } catch (error) {
    const { code } = error as Partial<CsvError>;
    if (!code?.startsWith('CSV_')) throw error;
    const { line, isQuote } = unfinished.openedAt(separator);
    throw new UserError(
      isQuoted && isQuote
        ? `${name}:${line}: expected a table in ${format}, but the quote that opens here is never closed. Close it, or write it twice ("") if it belongs to the text`
        : `${name}:${line}: expected a table in ${format}, but the row that begins here has more than ${rowBytesMax} bytes`,
      { cause: error },
    );
  }
}

interface ParsedRow {
  readonly record: Buffer[];
  /** Total of all rows so far. */
  readonly info: { readonly bytes: number };
}

async function* rowsOf(parsed: AsyncIterable<ParsedRow>, unfinished: UnfinishedRow): AsyncGenerator<Buffer[]> {
  for await (const { record, info } of parsed) {
    unfinished.finished(info.bytes);
    yield record;
  }
}

async function* linesOf(rows: AsyncIterable<Buffer[]>, options: CsvOptions): AsyncGenerator<Buffer> {
  let column: number | undefined;
  let columns = 0;
  let lines: string[] = [];
  let length = 0;
  for await (const row of rows) {
    if (column === undefined) {
      column = columnOf(row, options);
      columns = row.length;
      continue;
    }
    const line = `${JSON.stringify(cellOf(row, column, columns))}\n`;
    lines.push(line);
    length += line.length;
    if (length < lineBytes) continue;
    yield Buffer.from(lines.join(''));
    [lines, length] = [[], 0];
  }
  yield Buffer.from(lines.join(''));
}

/** The index of the column with the text. */
function columnOf(header: readonly Buffer[], { name, field, fieldSetting }: CsvOptions): number {
  const names = header.map((cell) => cell.toString().trim());
  const column = names.indexOf(field);
  if (column >= 0) return column;
  const shown = names.slice(0, 10).map((each) => JSON.stringify(each.slice(0, 40)));
  throw new UserError(
    `${name}: expected a column ${field} in the first row, which names the columns, received ${shown.join(', ')}: name one with ${fieldSetting}`,
  );
}

function cellOf(row: readonly Buffer[], column: number, columns: number): CsvRow {
  // A text with an unquoted separator would lose everything after it.
  if (row.length !== columns)
    return { wrong: `expected ${columns} columns as in the first row, received ${row.length}` };
  return (
    decodeUtf8(row[column]!, { ignoreBOM: true }) ?? { wrong: 'expected text in UTF-8, received bytes that are not' }
  );
}

/** csv-parse would interpret its option for a byte order mark as a request for strings. */
function withoutByteOrderMark(head: Buffer): Buffer {
  return head.subarray(0, 3).toString('hex') === 'efbbbf' ? head.subarray(3) : head;
}

async function takeHead(bytes: AsyncIterator<Buffer>): Promise<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < separatorSample) {
    const { value, done } = await bytes.next();
    if (done) break;
    head = Buffer.concat([head, value]);
  }
  return head;
}

/** Also closes the source if the table is not read to its end. */
async function* rest(head: Buffer, bytes: AsyncIterator<Buffer>, unfinished: UnfinishedRow): AsyncGenerator<Buffer> {
  try {
    unfinished.push(head);
    if (head.length > 0) yield head;
    for (let next = await bytes.next(); !next.done; next = await bytes.next()) {
      unfinished.push(next.value);
      yield next.value;
    }
  } finally {
    await bytes.return?.();
  }
}
