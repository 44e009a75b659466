import fc from 'fast-check';
import stringWidth from 'string-width';
import { describe, expect, it } from 'vitest';
import {
  apportioned,
  bar,
  cellsOf,
  fitted,
  oneRow,
  plainText,
  rendered,
  sparkline,
  truncated,
} from '../../../../src/cli/live/text.ts';

describe('text that fits', () => {
  it('is cut with an ellipsis, by cells and not by characters', () => {
    expect(truncated('local-0000', 10)).toBe('local-0000');
    expect(truncated('local-0000', 6)).toBe('local…');
    expect(truncated('日本語', 5)).toBe('日本…');
    expect(truncated('日本語', 4)).toBe('日…');
    expect(truncated('x', 0)).toBe('');
  });

  it('takes as many cells as string-width says', () => {
    const drawn = 'aZ~ …─▁▂▇█░▒▓';
    expect(cellsOf(drawn)).toBe(stringWidth(drawn));
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (text) => cellsOf(text) === stringWidth(text)));
  });

  it('is never wider than it may be', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme' })), fc.nat(120), (texts, cells) => {
        const line = texts.map((text) => ({ text: oneRow(text) }));
        expect(cellsOf(plainText(fitted(line, cells)))).toBeLessThanOrEqual(cells);
      }),
    );
  });

  it('has no line ends, and nothing that moves a cursor', () => {
    expect(oneRow('a\n  b\tc')).toBe('a b c');
    expect(oneRow('\x1b[2Jgone\x07\x9b1A')).toBe('[2Jgone1A');
  });

  it('has colours only where they are wanted', () => {
    const line = [{ text: 'ok', style: 'green' }, { text: ' plain' }] as const;
    expect(rendered(line, false)).toBe('ok plain');
    expect(rendered(line, true)).toBe('\x1b[32mok\x1b[39m plain');
  });
});

describe('a sparkline', () => {
  it('goes from the least to the most', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([4, 3, 2, 1], 2)).toBe('█▁');
    expect(sparkline([3, 3], 9)).toBe('▁▁');
    expect(sparkline([], 9)).toBe('');
  });

  it('leaves out what is not a number: a run may diverge', () => {
    expect(sparkline([Number.NaN, 1, Number.POSITIVE_INFINITY, 2], 9)).toBe('▁█');
  });
});

it.each([
  [0, '░░░░'],
  [0.5, '██░░'],
  [1, '████'],
  [7, '████'],
])('a bar of %d', (done, text) => {
  expect(plainText(bar(done, 4))).toBe(text);
});

it('shares cells in proportion, and leaves none over', () => {
  expect(apportioned([1, 1, 2], 8)).toEqual([2, 2, 4]);
  expect(apportioned([0, 0], 8)).toEqual([0, 0]);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1 }), fc.nat(60), (shares, cells) => {
      const lengths = apportioned(shares, cells);
      expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(cells);
      expect(Math.min(...lengths)).toBeGreaterThanOrEqual(0);
    }),
  );
});
