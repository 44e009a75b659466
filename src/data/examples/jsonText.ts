/** Rows of JSON Lines, or of an array of objects in JSON, each with the line where it begins. The file is in memory. */
import { UserError } from '../../base/errors.ts';
import { isRecord } from '../../base/optionValues.ts';
import type { Row } from '../../task/rows.ts';

export interface JsonRow {
  readonly row: Row;
  /** Counted from 1. */
  readonly line: number;
}

/** The object of each line that is not blank. @throws UserError for a line that is something else */
export function* jsonLines(text: string, name: string): Generator<JsonRow> {
  for (let start = 0, line = 1; start < text.length; line++) {
    const found = text.indexOf('\n', start);
    const end = found < 0 ? text.length : found;
    const json = text.slice(start, end);
    start = end + 1;
    if (json.trim() !== '') yield { row: parseObject(json, `${name}:${line}`, 'a JSON object in each line'), line };
  }
}

/** The objects of an array. @throws UserError for another value, an array that does not end, and text after its end */
export function* jsonArray(text: string, name: string): Generator<JsonRow> {
  const scanner = new Scanner(text, name);
  scanner.open();
  for (let element = scanner.next(); element !== undefined; element = scanner.next()) {
    const { json, line } = element;
    yield { row: parseObject(json, `${name}:${line}`, 'an array of JSON objects'), line };
  }
}

function parseObject(json: string, at: string, expected: string): Row {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new UserError(`${at}: expected ${expected}, received ${shown(json.trim())}, which is not valid JSON`);
  }
  if (isRecord(value)) return value as Row;
  throw new UserError(`${at}: expected ${expected}, received ${shown(json.trim())}`);
}

function shown(json: string): string {
  const line = json.replaceAll(/\s+/g, ' ');
  if (line === '') return 'nothing';
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}

/** Finds the elements of an array, without understanding them. */
class Scanner {
  readonly #text: string;
  readonly #name: string;
  #at = 0;
  #line = 1;

  constructor(text: string, name: string) {
    this.#text = text;
    this.#name = name;
  }

  open(): void {
    this.#skipSpace();
    if (this.#text[this.#at] !== '[') throw this.#wrong(`found ${shown(this.#text.slice(this.#at, this.#at + 100))}`);
    this.#at++;
    this.#skipSpace();
  }

  /** Undefined at the end of the array. */
  next(): { json: string; line: number } | undefined {
    if (this.#text[this.#at] === ']') {
      this.#at++;
      this.#skipSpace();
      if (this.#at < this.#text.length) throw this.#wrong('found text after its end');
      return undefined;
    }
    const [start, line] = [this.#at, this.#line];
    this.#skipValue();
    const json = this.#text.slice(start, this.#at);
    if (this.#text[this.#at] === ',') {
      this.#at++;
      this.#skipSpace();
      if (this.#text[this.#at] === ']') throw this.#wrong('found a comma before its end');
    }
    return { json, line };
  }

  /** To the comma or the bracket after the value. */
  #skipValue(): void {
    let depth = 0;
    for (; this.#at < this.#text.length; this.#at++) {
      const character = this.#text[this.#at]!;
      if (character === '"') this.#skipString();
      else if (character === '\n') this.#line++;
      else if (depth === 0 && (character === ',' || character === ']')) return;
      else if (character === '[' || character === '{') depth++;
      else if (character === ']' || character === '}') depth--;
    }
    throw this.#wrong('the file ends before its closing bracket');
  }

  /** To the quote that closes the string. */
  #skipString(): void {
    for (this.#at++; this.#at < this.#text.length; this.#at++) {
      const character = this.#text[this.#at];
      if (character === '"') return;
      if (character === '\\') this.#at++;
      else if (character === '\n') this.#line++;
    }
  }

  #skipSpace(): void {
    for (; /[ \t\r\n]/.test(this.#text[this.#at] ?? ''); this.#at++) if (this.#text[this.#at] === '\n') this.#line++;
  }

  #wrong(found: string): UserError {
    return new UserError(`${this.#name}:${this.#line}: expected an array of JSON objects, ${found}`);
  }
}
