import { describe, expect, it } from 'vitest';
import { LiveBlock } from '../../../../src/cli/live/block.ts';

// A linter takes the escape character in a literal for a mistake.
const ESC = '\u001b';
const tokens = new RegExp(`${ESC}\\[\\??[\\d;]*[A-Za-z]|[^${ESC}]`, 'g');
const up = new RegExp(`^${ESC}\\[(\\d+)A$`);

/** As much of a terminal as the block uses: the sequences that it may write, and no other. */
class Screen {
  readonly lines: string[] = [''];
  cursorVisible = true;
  #row = 0;
  #column = 0;

  write(text: string): void {
    for (const [token] of text.matchAll(tokens)) this.#take(token);
  }

  /** Without the empty rows at the end. */
  get shown(): string[] {
    return this.lines.join('\n').trimEnd().split('\n');
  }

  #take(token: string): void {
    const line = this.lines[this.#row] ?? '';
    const upMatch = up.exec(token);
    if (token === '\n') {
      this.#row++;
      this.#column = 0;
      if (this.#row === this.lines.length) this.lines.push('');
    } else if (token === '\r') this.#column = 0;
    else if (upMatch) {
      this.#row -= Number(upMatch[1]);
      if (this.#row < 0) throw new Error('above the first row');
    } else if (token === '\x1b[K') this.lines[this.#row] = line.slice(0, this.#column);
    else if (token === '\x1b[J') {
      this.lines[this.#row] = line.slice(0, this.#column);
      this.lines.length = this.#row + 1;
    } else if (token === '\x1b[?25l' || token === '\x1b[?25h') this.cursorVisible = token.endsWith('h');
    else if (token.length === 1) {
      this.lines[this.#row] = line.slice(0, this.#column) + token + line.slice(this.#column + 1);
      this.#column++;
    } else if (!token.startsWith('\x1b[?2026')) throw new Error(`unexpected ${JSON.stringify(token)}`);
  }
}

const rows = (...texts: string[]) => texts.map((text) => ({ text, cells: text.length }));

describe('rows that change in place', () => {
  it('change, grow and shrink, while lines go by above them', () => {
    const screen = new Screen();
    const block = new LiveBlock(screen);
    expect(screen.cursorVisible).toBe(false);
    screen.write('');
    block.draw(rows('step 1', 'loss 9'));
    block.above('first');
    block.draw(rows('step 2', 'loss 10', 'more'));
    expect(screen.shown).toEqual(['first', 'step 2', 'loss 10', 'more']);
    block.above('second\nthird');
    block.draw(rows('step 3'));
    expect(screen.shown).toEqual(['first', 'second', 'third', 'step 3']);
    block.draw([]);
    block.above('fourth');
    block.draw(rows('a', 'b'));
    expect(screen.shown).toEqual(['first', 'second', 'third', 'fourth', 'a', 'b']);
    block.close();
    expect(screen.shown).toEqual(['first', 'second', 'third', 'fourth']);
    expect(screen.cursorVisible).toBe(true);
  });

  it('are written only where they changed', () => {
    const written: string[] = [];
    const block = new LiveBlock({ write: (text) => written.push(text) });
    block.draw(rows('same', 'old', 'same too'));
    const count = written.length;
    block.draw(rows('same', 'old', 'same too'));
    expect(written).toHaveLength(count);
    block.draw(rows('same', 'new', 'same too'));
    expect(written.at(-1)).toContain('new');
    expect(written.at(-1)).not.toContain('same');
    block.close();
  });

  it('are cleared completely when the terminal has broken them', () => {
    const screen = new Screen();
    const block = new LiveBlock(screen);
    screen.write('before\n');
    block.draw(rows('0123456789', 'abcd'));
    // As terminals do that are made narrower: six columns.
    screen.lines.splice(1, 1, '012345', '6789');
    screen.lines.push('');
    screen.write('\n');
    block.resized(6);
    block.draw(rows('0123', 'abcd'));
    expect(screen.shown).toEqual(['before', '0123', 'abcd']);
    block.close();
  });

  it('give the cursor back once', () => {
    const written: string[] = [];
    const block = new LiveBlock({ write: (text) => written.push(text) });
    block.close();
    block.close();
    expect(written.filter((text) => text.includes('\x1b[?25h'))).toHaveLength(1);
  });
});
