import { expect, it } from 'vitest';
import { countOf, durationOf } from '../../../src/base/numberText.ts';

it.each([
  [60.4, '60 ms'],
  [999.7, '1 s'],
  [1_500, '1.5 s'],
  [1_999.9826010000002, '2 s'],
  [9_980, '10 s'],
  [1_800_000, '1,800 s'],
])('%d milliseconds are %s', (milliseconds, text) => {
  expect(durationOf(milliseconds)).toBe(text);
});

it.each([
  [0, '0 documents'],
  [1, '1 document'],
  [2_000, '2,000 documents'],
])('%d: %s', (count, text) => {
  expect(countOf(count, 'document')).toBe(text);
});
