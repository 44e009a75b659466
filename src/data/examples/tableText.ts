/** Rows of a table in CSV (RFC 4180) or TSV, each with the line where it begins. The table is in memory. */
import { UserError } from '../../base/errors.ts';

export interface TableRow {
  readonly cells: readonly string[];
  /** Counted from 1. */
  readonly line: number;
}

const separators = [',', ';', '\t', '|'] as const;

/**
 * The rows, without blank lines. In CSV a cell may be quoted, and then contain separators and line ends; the separator is the most frequent
 * of `,`, `;`, tab and `|` in the first row. In TSV a tab always ends a cell and a line feed a row: quotes are ordinary characters.
 * @throws UserError for a quote that is never closed, or text after the one that closes a cell
 */
export function* tableRows(text: string, format: 'csv' | 'tsv', name: string): Generator<TableRow> {
  const table = new Table(text, format === 'tsv' ? '\t' : separatorOf(text), { isQuoted: format === 'csv', name });
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

/** The most frequent separator in the first row, outside quotes. */
function separatorOf(text: string): string {
  const row = text
    .slice(0, 2 ** 16)
    .replaceAll(/"[^"]*"/g, '')
    .trimStart()
    .split('\n', 1)[0]!;
  const count = (separator: string): number => row.split(separator).length;
  return separators.reduce((best, other) => (count(other) > count(best) ? other : best));
}
