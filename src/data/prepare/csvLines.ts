/**
 * One column of a table in CSV or TSV as lines of JSON, one row each: a string, which is the cell, or an object that says what is wrong
 * with the row. So tables are cut, encoded and resumed as lines are. Cells may be quoted as RFC 4180 has it, with line feeds in them.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type CsvError, parse } from 'csv-parse';
import { messageOf, UserError } from '../../base/errors.ts';
import { decodeUtf8 } from '../utf8.ts';
import type { Fields } from './fields.ts';

/** A quote that nobody closes would take in all of the file. */
const rowBytesMax = 32 * 2 ** 20;
/** What is handed on at once. */
const lineBytes = 2 ** 16;
/** Of the first row, what is looked at to find out what separates columns. */
const sampleBytes = 2 ** 16;
const separators = [',', ';', '\t', '|'] as const;

/** A row as a line has it. */
export type CsvRow = string | { readonly wrong: string };

export interface CsvOptions extends Pick<Fields, 'field' | 'fieldSetting'> {
  readonly format: 'csv' | 'tsv';
  readonly name: string;
}

/** @throws UserError where there is no such column, or a quote is never closed */
export async function* csvLines(bytes: AsyncIterable<Buffer>, options: CsvOptions): AsyncGenerator<Buffer> {
  const { format, name } = options;
  const iterator = bytes[Symbol.asyncIterator]();
  const head = withoutByteOrderMark(await takeHead(iterator));
  const parser = parse({
    delimiter: format === 'tsv' ? '\t' : separatorOf(head),
    // Cells as bytes, since what is not UTF-8 must be noticed.
    encoding: null,
    max_record_size: rowBytesMax,
    relax_column_count: true,
    // A quote in the middle of a cell is a character like others.
    relax_quotes: true,
    skip_empty_lines: true,
  });
  // An error of either comes out of the parser, which is read here.
  pipeline(Readable.from(rest(head, iterator)), parser).catch(() => undefined);
  try {
    yield* linesOf(parser as AsyncIterable<Buffer[]>, options);
  } catch (error) {
    const { code } = error as Partial<CsvError>;
    if (code?.startsWith('CSV_')) throw new UserError(`${name}: expected a table in ${format}: ${messageOf(error)}`);
    throw error;
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

/** Which column has the text. */
function columnOf(header: readonly Buffer[], { name, field, fieldSetting }: CsvOptions): number {
  const names = header.map((cell) => cell.toString().trim());
  const column = names.indexOf(field);
  if (column >= 0) return column;
  const shown = names.slice(0, 10).map((each) => JSON.stringify(each.slice(0, 40)));
  throw new UserError(
    `${name}: expected a column ${field} in the first row, which names the columns, found ${shown.join(', ')}: name one with ${fieldSetting}`,
  );
}

function cellOf(row: readonly Buffer[], column: number, columns: number): CsvRow {
  // A text with an unquoted separator in it would lose what comes after.
  if (row.length !== columns) return { wrong: `expected ${columns} columns as in the first row, found ${row.length}` };
  return decodeUtf8(row[column]!, { ignoreBOM: true }) ?? { wrong: 'expected text in UTF-8, found bytes that are not' };
}

/** What stands most often in the first row, outside quotes. */
function separatorOf(head: Buffer): string {
  const row = head
    .toString()
    .replaceAll(/"[^"]*"/g, '')
    .split('\n', 1)[0]!;
  const count = (separator: string): number => row.split(separator).length;
  return separators.reduce((best, other) => (count(other) > count(best) ? other : best));
}

/** csv-parse would take its option for a byte order mark as a wish to have strings. */
function withoutByteOrderMark(head: Buffer): Buffer {
  return head.subarray(0, 3).toString('hex') === 'efbbbf' ? head.subarray(3) : head;
}

async function takeHead(bytes: AsyncIterator<Buffer>): Promise<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < sampleBytes) {
    const { value, done } = await bytes.next();
    if (done) break;
    head = Buffer.concat([head, value]);
  }
  return head;
}

/** Closes the source too where the table is not read to its end. */
async function* rest(head: Buffer, bytes: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  try {
    if (head.length > 0) yield head;
    for (let next = await bytes.next(); !next.done; next = await bytes.next()) yield next.value;
  } finally {
    await bytes.return?.();
  }
}
