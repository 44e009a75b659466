/** Rows of a table in CSV (RFC 4180) or TSV, each with the line where it begins. The table is in memory. */
import { UserError } from '../../base/errors.ts';
import { frequentSeparator, separatorSample, separators } from '../prepare/separator.ts';

export interface TableRow {
  readonly cells: readonly string[];
  /** Counted from 1. */
  readonly line: number;
}

/** Number of rows that show which separator gives the number of columns. */
const rowsCompared = 100;

export interface TableFormat {
  readonly format: 'csv' | 'tsv';
  /** The name of the file, for messages. */
  readonly name: string;
  /** The number of columns, if the first row is not a header; otherwise 0. */
  readonly columns: number;
}

/**
 * The rows, without blank lines. In CSV a cell may be quoted, and then contain separators and line ends. The separator is one of `,`, `;`, tab
 * and `|`: the most frequent in a header, otherwise the one that gives most rows the number of columns. In TSV a tab always ends a cell and
 * a line feed a row: quotes are ordinary characters.
 * @throws UserError for a quote that is never closed, or text after the one that closes a cell
 */
export function* tableRows(text: string, { format, name, columns }: TableFormat): Generator<TableRow> {
  const separator = format === 'tsv' ? '\t' : separatorOf(text, columns);
  yield* rowsIn(new Table(text, separator, { isQuoted: format === 'csv', name }));
}

function* rowsIn(table: Table): Generator<TableRow> {
  for (let row = table.next(); row !== undefined; row = table.next()) {
    if (row.cells.length > 1 || row.cells[0] !== '') yield row;
  }
}

class Table {
  readonly #text: string;
  readonly #separator: string;
  readonly #isQuoted: boolean;
  readonly #name: string;
  /** Index of the next character, and its line. */
  #at = 0;
  #line = 1;

  constructor(text: string, separator: string, { isQuoted, name }: { isQuoted: boolean; name: string }) {
    this.#text = text;
    this.#separator = separator;
    this.#isQuoted = isQuoted;
    this.#name = name;
  }

  next(): TableRow | undefined {
    if (this.#at >= this.#text.length) return undefined;
    const line = this.#line;
    const cells: string[] = [];
    for (;;) {
      cells.push(this.#isQuoted && this.#text[this.#at] === '"' ? this.#quoted() : this.#plain());
      if (this.#text[this.#at] !== this.#separator) break;
      this.#at++;
    }
    if (this.#text[this.#at] === '\r') this.#at++;
    // The end of the line, or of the text.
    this.#at++;
    this.#line++;
    return { cells, line };
  }

  /** A cell up to the next separator or line end. A quote inside it is an ordinary character. */
  #plain(): string {
    const start = this.#at;
    while (this.#at < this.#text.length && !this.#isCellEnd()) this.#at++;
    return this.#text.slice(start, this.#at);
  }

  /** A cell in quotes; `""` is a quote in it. */
  #quoted(): string {
    const opened = this.#line;
    let cell = '';
    for (let start = this.#at + 1; ; ) {
      const end = this.#text.indexOf('"', start);
      if (end < 0) {
        throw new UserError(
          `${this.#name}:${opened}: the quote that opens here is never closed. Close it, or write it twice ("") in a quoted cell if it belongs to the text`,
        );
      }
      const part = this.#text.slice(start, end);
      cell += part;
      this.#line += lineFeedsIn(part);
      this.#at = end + 1;
      if (this.#text[this.#at] !== '"') break;
      cell += '"';
      start = this.#at + 1;
    }
    if (this.#at < this.#text.length && !this.#isCellEnd()) {
      throw new UserError(
        `${this.#name}:${this.#line}: found text after the quote that closes a cell. Write quotes that belong to the text twice ("")`,
      );
    }
    return cell;
  }

  #isCellEnd(): boolean {
    const character = this.#text[this.#at];
    if (character === '\r') return this.#at + 1 === this.#text.length || this.#text[this.#at + 1] === '\n';
    return character === this.#separator || character === '\n';
  }
}

function lineFeedsIn(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

/** @param columns 0: the first row is a header */
function separatorOf(text: string, columns: number): string {
  const sample = text.slice(0, separatorSample);
  if (columns === 0) return frequentSeparator(sample);
  const fits = separators.map((separator) => fittingRows(sample, separator, columns));
  const most = Math.max(...fits);
  return most === 0 ? frequentSeparator(sample) : separators[fits.indexOf(most)]!;
}

/** The number of rows, among the first, with this number of columns. Those after a row that this separator makes invalid do not count. */
function fittingRows(text: string, separator: string, columns: number): number {
  const table = new Table(text, separator, { isQuoted: true, name: '' });
  let [rows, fitting] = [0, 0];
  try {
    for (const { cells } of rowsIn(table)) {
      if (cells.length === columns) fitting++;
      if (++rows === rowsCompared) break;
    }
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
  return fitting;
}
