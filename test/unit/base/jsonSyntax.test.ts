import fc from 'fast-check';
import { expect, it } from 'vitest';
import { jsonErrorIndex, placeOf } from '../../../src/base/jsonSyntax.ts';

it.each([
  ['', 0],
  ['  ', 2],
  ['{', 1],
  ['{"a"', 4],
  ['{"a":', 5],
  ['{"a":1', 6],
  ['{"a":1,}', 7],
  ['{a:1}', 1],
  ["{'a':1}", 1],
  ['[1,]', 3],
  ['[1 2]', 3],
  ['[01]', 2],
  ['[1}', 2],
  ['"a\nb"', 2],
  ['"a\\qb"', 2],
  ['"\\u12x4"', 1],
  ['"abc', 4],
  ['{"a":tru}', 5],
  ['{} x', 3],
  ['-', 0],
])('the first character that cannot continue %j is found', (text, index) => {
  expect(jsonErrorIndex(text)).toBe(index);
});

it('finds an error exactly where JSON.parse does, in JSON that was changed anywhere', () => {
  const isJson = (text: string): boolean => {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  };
  const changed = fc.tuple(
    fc.json(),
    fc.nat(),
    fc.nat(2),
    fc.constantFrom('', '"', '{', ']', ',', ':', '0', '\\', '\u0000', 'e'),
  );
  fc.assert(
    fc.property(changed, ([text, place, removed, added]) => {
      const at = place % (text.length + 1);
      const other = text.slice(0, at) + added + text.slice(at + removed);
      const index = jsonErrorIndex(other);
      expect(index === undefined).toBe(isJson(other));
      // All that comes before may still become JSON, so its error is that it ends.
      if (index !== undefined) expect(jsonErrorIndex(other.slice(0, index)) ?? index).toBe(index);
    }),
    { numRuns: 2_000 },
  );
});

it('takes any depth and any length', () => {
  const deep = 500_000;
  expect(jsonErrorIndex('['.repeat(deep) + ']'.repeat(deep))).toBeUndefined();
  expect(jsonErrorIndex(`"${'\\n a'.repeat(deep)}"`)).toBeUndefined();
  expect(jsonErrorIndex('['.repeat(deep))).toBe(deep);
});

it('places are lines and columns from 1', () => {
  expect(placeOf('{\n  x', 4)).toBe('line 2, column 3');
  expect(placeOf('{', 1)).toBe('the end');
});
