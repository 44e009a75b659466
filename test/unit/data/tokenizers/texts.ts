/** Texts for tests of tokenizers. */
import fc from 'fast-check';
import { isNewerThanUnicode16 } from '../../../../src/data/tokenizers/characterClasses.ts';

/** Any text of Unicode 16, which the tokenizers know: that of Node, with which they are compared, may be newer. No halves of surrogate pairs. */
export const anyText = fc
  .string({ unit: 'binary', maxLength: 200 })
  .filter((text) => Array.from(text).every((character) => !isNewerThanUnicode16(character.codePointAt(0)!)));

const parts = [
  ...[
    "'s",
    "'S",
    "'ll",
    "'Re",
    "'",
    ' ',
    '  ',
    '\n',
    '\t',
    '\r\n',
    'a',
    'A',
    'Hello',
    'HELLO',
    'naïve',
    '12',
    '12345',
    '½',
    '٣',
  ],
  ...[
    '日本',
    '!',
    '…',
    '—',
    '\u00a0',
    '\u3000',
    '🙂',
    '👩‍👩‍👧',
    'e\u0301',
    '\u0301',
    'ß',
    '<|endoftext|>',
    'İ',
    'ǅ',
    'ʰ',
  ],
  '\u200b',
  '_',
  '€',
  'हिन्दी',
  '\u0000',
  '\u007f',
  '/',
  '//',
  '𐐀',
  '𐐨',
  '𝒜',
];

/** Words, spaces, apostrophes, digits and symbols next to each other in all ways: what the splitting rules are about. */
export const trickyText = fc.array(fc.constantFrom(...parts), { maxLength: 40 }).map((chosen) => chosen.join(''));
