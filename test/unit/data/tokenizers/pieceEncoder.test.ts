import { describe, expect, it } from 'vitest';
import { TokenBuffer } from '../../../../src/data/tokenArray.ts';
import { BytePairs } from '../../../../src/data/tokenizers/bytePairs.ts';
import { PieceEncoder } from '../../../../src/data/tokenizers/pieceEncoder.ts';
import { PieceIndex } from '../../../../src/data/tokenizers/pieceIndex.ts';

/** Bytes are their own tokens, and two zeros are token 256. */
function zeros(): BytePairs {
  const pairs = new BytePairs(Uint32Array.from({ length: 256 }, (_, byte) => byte));
  pairs.add(0x30, 0x30, 256);
  return pairs;
}

function expected(text: string): number[] {
  return [...new TextEncoder().encode(text.replaceAll('00', '\u0001'))].map((byte) => (byte === 1 ? 256 : byte));
}

describe('PieceEncoder', () => {
  it('encodes more different pieces than it remembers, and those it has forgotten again', () => {
    const encoder = new PieceEncoder(zeros());
    const out = new TokenBuffer(257);
    const pieces = Array.from({ length: 150_000 }, (_, i) => String(i));
    const text = pieces.join('');
    for (let round = 0; round < 2; round++) {
      let start = 0;
      for (const piece of pieces) {
        encoder.encode(text, start, start + piece.length, out);
        start += piece.length;
      }
    }
    const once = pieces.flatMap(expected);
    const tokens = out.take();
    expect(tokens).toHaveLength(2 * once.length);
    expect(tokens.subarray(0, once.length)).toEqual(Uint16Array.from(once));
    expect(tokens.subarray(once.length)).toEqual(Uint16Array.from(once));
  });

  it('tells pieces apart that differ in one character, in length or in where the UTF-16 units are from', () => {
    const encoder = new PieceEncoder(zeros());
    const text = 'a aa aaa aab baa \u0100 \u0001\u0000 é 00 000 🙂 日';
    for (const piece of [...text.split(' '), ...text.split(' '), '日'.repeat(64), '日'.repeat(65)]) {
      const out = new TokenBuffer(257);
      encoder.encode(`..${piece}..`, 2, 2 + piece.length, out);
      expect([...out.take()], piece).toEqual(piece.includes('\u0001') ? [1, 0] : expected(piece));
    }
  });
});

describe('PieceIndex', () => {
  it('numbers pieces as they come, finds each again, and gives it back', () => {
    const index = new PieceIndex();
    const pieces = [...Array.from({ length: 5000 }, (_, i) => ` piece ${i}`), 'x'.repeat(100_000), '', '🙂'];
    for (const [number, piece] of pieces.entries()) {
      expect(index.find(piece, 0, piece.length)).toBe(-1);
      expect(index.add(piece, 0, piece.length)).toBe(number);
    }
    for (const [number, piece] of pieces.entries()) {
      if (index.find(`>${piece}<`, 1, 1 + piece.length) !== number || index.textOf(number) !== piece) {
        expect.fail(`piece ${number} is not found`);
      }
    }
    expect(index.size).toBe(pieces.length);
    expect(index.units).toBe(pieces.join('').length);
    index.clear();
    expect([index.size, index.units, index.find(' piece 1', 0, 8)]).toEqual([0, 0, -1]);
  });
});
