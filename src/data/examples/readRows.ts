/**
 * Reads the rows of examples into memory, each with its place: from JSON Lines, JSON, CSV, TSV and Parquet, also compressed. What a row must
 * contain is not known here; a task checks it.
 */
import { UserError } from '../../base/errors.ts';
import { grouped } from '../../base/numberText.ts';
import { settingText } from '../../base/ownCommand.ts';
import { standardInput } from '../../base/userPath.ts';
import type { PlacedRow, Row } from '../../task/rows.ts';
import { byteStream } from '../prepare/byteStream.ts';
import { prepareFields } from '../prepare/fields.ts';
import type { SourceFormat } from '../prepare/fileKinds.ts';
import type { Source } from '../prepare/source.ts';
import { findSources } from '../prepare/sources.ts';
import { decodeUtf8 } from '../utf8.ts';
import { alignedRows, type NamedText } from './alignedText.ts';
import { type ChosenColumns, chosenColumns, withChosenColumns } from './chosenColumns.ts';
import { jsonArray, jsonLines } from './jsonText.ts';
import { tableRows } from './tableText.ts';

/** JavaScript strings end at 2^29 - 24 units. */
const bytesMax = 500_000_000;
const lineFeed = 0x0a;

export interface ReadRowsOptions {
  /** Files, folders and globs. */
  readonly paths: readonly string[];
  /** The setting that names them, for messages: `data.examples`. */
  readonly setting: string;
  /** The folder that relative paths start from. */
  readonly cwd: string;
  /**
   * Names of the columns of tables without a header row. Empty: the first row of each table names its columns. A first row that has all these
   * names is a header. Or `KEY=COLUMN` each: the columns or keys to take, and their new names.
   */
  readonly columns: readonly string[];
  /** The files' format. Absent: determined by their names and content. */
  readonly format?: SourceFormat | undefined;
  /** The file that `builtin` stands for. Absent: the text in the package, which has no rows. */
  readonly builtinPath?: string | undefined;
  /** Whether two text files are rows `{source, target}`: the first file has the sources, and the same lines of the second the targets. */
  readonly aligned?: boolean;
  readonly onNotice: (line: string) => void;
}

/** A row that was read. */
export interface ReadRow extends PlacedRow {
  /** The names of its columns, if they come from the first row of its table. */
  readonly header?: readonly string[];
}

/** @throws UserError for missing and damaged files, and for what is not a row; it names the file and the line, or the row in Parquet */
export async function readRows(options: ReadRowsOptions): Promise<ReadRow[]> {
  const { paths, setting, cwd, format, builtinPath, onNotice } = options;
  if (paths.includes(standardInput)) {
    throw new UserError(`${setting}: expected a file of rows, not standard input (-), which can be read only once`);
  }
  const { columns: key } = keysOf(setting);
  const chosen = chosenColumns(options.columns, key);
  const renamed = (row: ReadRow): ReadRow =>
    chosen === undefined ? row : { row: withChosenColumns(row.row, chosen, { at: row.at, setting: key }), at: row.at };
  const notices: string[] = [];
  const sources = await findSources(paths, {
    cwd,
    format,
    setting,
    builtinPath,
    reads: 'rows',
    onNotice: (line) => notices.push(line),
  });
  const isAligned = options.aligned === true && sources.some((source) => source.format === 'text');
  if (isAligned) checkAligned(sources, options);
  else for (const source of sources) checkFormat(source, options);
  for (const line of notices) onNotice(line);
  const rows: ReadRow[] = [];
  let bytesLeft = bytesMax;
  const texts: NamedText[] = [];
  for (const source of sources) {
    const tooMany = () =>
      new UserError(
        `${setting}: the rows have more than ${grouped(bytesMax / 1e6)} MB up to ${source.name}, which do not fit in memory. Use fewer of them`,
      );
    if (source.format === 'parquet') {
      const { parquetObjects } = await import('../prepare/parquetRows.ts');
      for await (const { row, number, bytes } of parquetObjects(source)) {
        bytesLeft -= bytes;
        if (bytesLeft < 0) throw tooMany();
        rows.push(renamed(placed(row, `${source.name}: row ${number}`)));
      }
      continue;
    }
    const bytes = await readBytes(source, bytesLeft, tooMany);
    bytesLeft -= bytes.length;
    if (isAligned) {
      texts.push({ name: source.name, text: textOf(bytes, source.name) });
      continue;
    }
    const columns = chosen === undefined ? options.columns : [];
    for (const row of rowsIn(textOf(bytes, source.name), source, { columns, chosen, key })) rows.push(renamed(row));
  }
  const [first, second] = texts;
  if (first !== undefined && second !== undefined) {
    for (const { row, sourceAt, targetAt } of alignedRows(first, second)) {
      placed({ target: row.target }, targetAt);
      rows.push(placed(row, sourceAt));
    }
  }
  if (rows.length === 0) throw new UserError(`${setting}: found no rows in ${paths.join(', ')}`);
  return rows;
}

/** The names of the settings that describe the rows: keys of a config, or options of a command. */
function keysOf(setting: string): { readonly columns: string; readonly format: string } {
  return setting.startsWith('data.')
    ? { columns: 'data.columns', format: 'data.format' }
    : { columns: '--columns', format: '--format' };
}

function checkFormat({ format, name }: Source, { setting }: ReadRowsOptions): void {
  if (format !== 'text') return;
  throw new UserError(
    `${setting}: ${name} is text, not rows. Expected JSON Lines, JSON, CSV, TSV or Parquet; if it is one of these, say which, as in ${settingText(keysOf(setting).format, 'jsonl')}`,
  );
}

/** @throws UserError unless there are two different files, both of text, each named by itself */
function checkAligned(sources: readonly Source[], { paths, setting, columns }: ReadRowsOptions): void {
  const expected = setting.startsWith('data.')
    ? 'two text files with aligned lines, the sources first and then the targets, or files of rows {source, target}'
    : 'the text file of its targets as well (--targets), or rows {source, target}';
  const rows = sources.find(({ format }) => format !== 'text');
  const text = sources.find(({ format }) => format === 'text')!;
  if (rows !== undefined) {
    throw new UserError(`${setting}: ${text.name} is text, but ${rows.name} has rows. Expected ${expected}`);
  }
  if (sources.length !== 2 || paths.length !== 2) {
    const repeats = paths.length > sources.length;
    const found = repeats
      ? `${paths.join(', ')}, which repeats a file`
      : sources.length === 1
        ? `only ${text.name}`
        : `${grouped(sources.length)} text files in ${paths.join(', ')}`;
    throw new UserError(`${setting}: found ${found}. Expected ${expected}`);
  }
  if (columns.length > 0)
    throw new UserError(`${keysOf(setting).columns} is for rows, but ${text.name} is text: omit it`);
}

async function readBytes(source: Source, most: number, tooMany: () => UserError): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  // As text: the bytes of the file, decompressed.
  for await (const part of byteStream({ ...source, format: 'text' }, { from: 0, fields: prepareFields('') })) {
    length += part.length;
    if (length > most) throw tooMany();
    parts.push(part);
  }
  return Buffer.concat(parts, length);
}

/** The text, without a byte order mark. @throws UserError naming the first line that is not UTF-8 */
function textOf(bytes: Buffer, name: string): string {
  const text = decodeUtf8(bytes, { ignoreBOM: false });
  if (text !== undefined) return text;
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const end = bytes.indexOf(lineFeed, start);
    const part = bytes.subarray(start, end < 0 ? bytes.length : end);
    if (decodeUtf8(part, { ignoreBOM: true }) === undefined) break;
    start += part.length + 1;
  }
  throw new UserError(
    `${name}:${line}: expected text in UTF-8, received bytes that are not. \`iconv -f WINDOWS-1252 -t UTF-8\` converts what a spreadsheet on Windows saves`,
  );
}

function* rowsIn(
  text: string,
  { name, format }: Source,
  options: Omit<TableOptions, 'name' | 'format'>,
): Generator<ReadRow> {
  if (format === 'csv' || format === 'tsv') yield* rowsOfTable(text, { name, format, ...options });
  else {
    for (const { row, line } of format === 'json' ? jsonArray(text, name) : jsonLines(text, name)) {
      yield placed(row, `${name}:${line}`);
    }
  }
}

interface TableOptions {
  readonly name: string;
  readonly format: 'csv' | 'tsv';
  /** The names of all columns of a table without a header row. */
  readonly columns: readonly string[];
  /** The columns that are taken, if not all. */
  readonly chosen: ChosenColumns | undefined;
  /** The setting that names the columns, for messages. */
  readonly key: string;
}

/** A first row that has all the names of `columns` is a header, not an example. */
function* rowsOfTable(text: string, { name, format, columns, chosen, key }: TableOptions): Generator<ReadRow> {
  let names: readonly string[] | undefined;
  let hasHeader = columns.length === 0;
  for (const { cells, line } of tableRows(text, { format, name, columns: columns.length })) {
    const at = `${name}:${line}`;
    if (names === undefined) {
      const first = cells.map((cell) => cell.trim());
      hasHeader ||= columns.every((column) => first.includes(column));
      names = hasHeader ? first : columns;
      if (hasHeader) {
        checkNames(chosen === undefined ? names : names.filter((column) => isChosen(column, chosen)), { at, key });
        continue;
      }
    }
    if (cells.length !== names.length) {
      const advice = format === 'csv' ? 'quote cells that contain separators' : 'a text in TSV cannot contain a tab';
      throw new UserError(
        `${at}: expected ${names.length} columns as in ${hasHeader ? 'the first row' : key} (${shownNames(names)}), received ${cells.length}: ${advice}`,
      );
    }
    const row = placed(Object.fromEntries(names.map((column, i) => [column, cells[i]])), at);
    yield hasHeader ? { ...row, header: names } : row;
  }
}

function isChosen(column: string, chosen: ChosenColumns): boolean {
  return chosen.has(column) || [...chosen.values()].includes(column);
}

function checkNames(names: readonly string[], { at, key }: { at: string; key: string }): void {
  const advice = `If the first row is an example, name the columns with ${key}; otherwise choose columns with it, such as text=NAME`;
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (names.includes(''))
    throw new UserError(`${at}: expected a name for each column, received an empty one. ${advice}`);
  if (twice !== undefined) throw new UserError(`${at}: two columns have the name ${shownNames([twice])}. ${advice}`);
}

function shownNames(names: readonly string[]): string {
  const shown = names.slice(0, 8).map((name) => (name.length > 40 ? `${name.slice(0, 40)}…` : name));
  return names.length > shown.length ? `${shown.join(', ')}, …` : shown.join(', ');
}

/**
 * The error about a row, with advice if it is about a column of its table.
 * @param setting that names the rows, for messages
 */
export function withHeaderAdvice(error: unknown, rows: readonly ReadRow[], setting: string): unknown {
  const { columns } = keysOf(setting);
  if (!(error instanceof UserError)) return error;
  const { message } = error;
  const header = rows.find(({ at }) => message.startsWith(`${at}:`))?.header;
  if (header?.some((name) => message.includes(JSON.stringify(name))) !== true) return error;
  return new UserError(
    `${message} The first row of the table names its columns (${shownNames(header)}): if it is an example, name them with ${columns}; otherwise take some of them with it, such as text=NAME`,
    { cause: error },
  );
}

/** @throws UserError for text that no tokenizer can represent */
function placed(row: Row, at: string): PlacedRow {
  const values: unknown[] = [row];
  for (let value = values.pop(); value !== undefined; value = values.pop()) {
    if (typeof value === 'string') {
      if (value.includes('\0')) throw new UserError(`${at}: expected text, received a zero character`);
      if (!value.isWellFormed()) throw new UserError(`${at}: expected text, received half a surrogate pair`);
    } else if (typeof value === 'object' && value !== null) {
      for (const part of Object.values(value)) if (part !== undefined) values.push(part);
    }
  }
  return { row, at };
}
