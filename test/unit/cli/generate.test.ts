import { describe, expect, it } from 'vitest';
import { checkSearch, describeSpeed, sourcesOf } from '../../../src/cli/generate.ts';

it('refuses what has no effect on a search with --beams', () => {
  const unset = { temperature: undefined, 'top-k': undefined, 'top-p': undefined, stop: undefined, seed: undefined };
  const args = { ...unset, greedy: false, 'ignore-eos': false, numSamples: 1, cache: true };
  expect(checkSearch(args)).toBeUndefined();
  expect(() => checkSearch({ ...args, seed: 3 })).toThrow('so --seed has no effect: omit it');
  expect(() => checkSearch({ ...args, 'top-k': 3 })).toThrow('so --top-k has no effect: omit it');
});

it('takes blank lines for empty ones, which have no target', () => {
  expect(sourcesOf('one\n \t\r\n two \n')).toEqual(['one', '', ' two ']);
});

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
