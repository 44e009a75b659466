import { describe, expect, it } from 'vitest';
import { createTokenizer } from '../../../src/data/tokenizers/openTokenizer.ts';
import { TextStream } from '../../../src/run/textStream.ts';

const tokenizer = await createTokenizer('byte', '');

/** What each byte of `text` adds, and what is left at the end. */
function piecesOf(text: string, stop: readonly string[]): { pieces: string[]; end: string; isStopped: boolean } {
  const stream = new TextStream(tokenizer, [], stop);
  const pieces: string[] = [];
  for (const token of tokenizer.encode(text)) {
    if (stream.isStopped) break;
    pieces.push(stream.push(token));
  }
  return { pieces, end: stream.end(), isStopped: stream.isStopped };
}

describe('a text that ends at a stop text', () => {
  it('has all before it, and nothing of it was told before it was sure', () => {
    expect(piecesOf('ab, cd.', ['c', ', d'])).toEqual({ pieces: ['a', 'b', '', '', ', '], end: '', isStopped: true });
  });

  it.each([
    ['a stop text that is never complete', 'aab aa', ['aac'], 'aab aa', false],
    ['the first of two', 'one two', ['two', 'e'], 'on', true],
    ['one that begins inside of another', 'xaaab', ['aab'], 'xa', true],
    ['characters of several bytes', 'naïve – ça va', ['ça'], 'naïve – ', true],
    ['a line feed', 'one\ntwo', ['\n'], 'one', true],
    ['none', 'one', [], 'one', false],
  ])('%s', (_, text, stop, expected, isStopped) => {
    const told = piecesOf(text, stop);
    expect(told.pieces.join('') + told.end).toBe(expected);
    expect(told.isStopped).toBe(isStopped);
  });
});
