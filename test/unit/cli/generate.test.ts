import { describe, expect, it } from 'vitest';
import { describeSpeed, sourcesOf } from '../../../src/cli/generate.ts';

describe('describeSpeed', () => {
  it('tells the prompt from the tokens that follow', () => {
    expect(describeSpeed([1000, 1250, 1270, 1290, 1310])).toBe(
      '4 tokens: the first after 0.25 s, then 50.0 per second',
    );
    expect(describeSpeed([1000, 1250])).toBe('1 token: the first after 0.25 s');
    expect(describeSpeed([1000])).toBe('0 tokens');
  });
});

it.each([
  ['six\n', ['six']],
  ['six', ['six']],
  ['six\r\n\r\nseven\r\n', ['six', '', 'seven']],
  ['', ['']],
])('reads the sources of %j, one in each line', (text, sources) => {
  expect(sourcesOf(text)).toEqual(sources);
});
