/**
 * Rows at the bottom of a terminal that change in place, below the scrolling output. Only changed rows are written, in a single write
 * that terminals with synchronized output show at once; only these rows are ever erased. The cursor stays hidden on the row after them
 * and is restored however the process ends.
 */
import { onExit } from 'signal-exit';

export interface BlockStream {
  write(text: string): unknown;
}

/** A row with its escape codes, and its width in cells. */
export interface Row {
  readonly text: string;
  readonly cells: number;
}

const synchronizedOn = '\x1b[?2026h';
const synchronizedOff = '\x1b[?2026l';
const cursorHidden = '\x1b[?25l';
const cursorShown = '\x1b[?25h';
const eraseToEndOfRow = '\x1b[K';
const eraseBelow = '\x1b[J';

export class LiveBlock {
  readonly #stream: BlockStream;
  readonly #forgetExit: () => void;
  /** The rows on the screen, above the cursor. */
  #rows: readonly Row[] = [];
  #isOpen = true;

  constructor(stream: BlockStream) {
    this.#stream = stream;
    this.#forgetExit = onExit(() => this.close());
    stream.write(cursorHidden);
  }

  /** Replaces the rows. Each must be narrower than the terminal, and there must be fewer than it has rows. */
  draw(rows: readonly Row[]): void {
    const before = this.#rows;
    if (rows.length === before.length && rows.every(({ text }, i) => text === before[i]?.text)) return;
    const isSame = (row: Row, i: number) => row.text === before[i]?.text;
    const body = rows.map((row, i) => `${isSame(row, i) ? '' : row.text + eraseToEndOfRow}\n`).join('');
    this.#write(this.#toTop() + body + (rows.length < before.length ? eraseBelow : eraseToEndOfRow));
    this.#rows = rows;
  }

  /** Writes lines above the rows, where they scroll with the earlier output. */
  above(text: string): void {
    const lines = text.split('\n').map((line) => `${line}${eraseToEndOfRow}\n`);
    const body = this.#rows.map((row) => `${row.text}${eraseToEndOfRow}\n`);
    this.#write(this.#toTop() + lines.join('') + body.join('') + eraseToEndOfRow);
  }

  /** The terminal now has `columns`. It has wrapped wider rows, so they are erased. */
  resized(columns: number): void {
    const height = this.#rows.reduce((sum, { cells }) => sum + Math.max(1, Math.ceil(cells / columns)), 0);
    this.#write(`${up(height)}${eraseBelow}`);
    this.#rows = [];
  }

  /** Removes the rows and restores the cursor until {@link resume}. */
  suspend(): void {
    this.#write(`${this.#toTop()}${eraseBelow}${cursorShown}`);
    this.#rows = [];
  }

  /** After {@link suspend}: rows are drawn from where the cursor is now. */
  resume(): void {
    this.#write(cursorHidden);
  }

  /** Removes the rows and restores the cursor. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.suspend();
    this.#forgetExit();
  }

  #toTop(): string {
    return up(this.#rows.length);
  }

  #write(text: string): void {
    this.#stream.write(synchronizedOn + text + synchronizedOff);
  }
}

function up(rows: number): string {
  return rows === 0 ? '\r' : `\x1b[${rows}A\r`;
}
