import { describe, expect, it } from 'vitest';
import { checkSearch, describeSpeed, sourcesOf } from '../../../src/cli/generate.ts';
import { checkSampling, samplingOf } from '../../../src/cli/samplingOptions.ts';

it('refuses what has no effect on a search with --beams', () => {
  const drawn = { temperature: undefined, 'top-k': undefined, 'top-p': undefined, 'min-p': undefined };
  const unset = { ...drawn, 'repetition-penalty': undefined, stop: undefined, seed: undefined };
  const args = { ...unset, greedy: false, 'ignore-eos': false, numSamples: 1, cache: true };
  expect(checkSearch(args)).toBeUndefined();
  expect(() => checkSearch({ ...args, seed: 3 })).toThrow('so --seed has no effect: omit it');
  expect(() => checkSearch({ ...args, 'repetition-penalty': 1.1 })).toThrow('so --repetition-penalty has no effect');
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

describe('min-p and the penalty for repetition', () => {
  const none = {
    'special-tokens': false,
    'ignore-eos': false,
    greedy: false,
    'max-tokens': 5,
    stop: undefined,
    seed: 1,
  };
  const unset = { temperature: undefined, 'top-k': undefined, 'top-p': undefined };
  const args = { ...none, ...unset, 'min-p': undefined, 'repetition-penalty': undefined };

  it('do nothing by default', () => {
    expect(samplingOf(args, undefined)).toMatchObject({ minP: 0, repetitionPenalty: 1 });
    const given = { ...args, 'min-p': 0.1, 'repetition-penalty': 1.2 };
    expect(samplingOf(given, undefined)).toMatchObject({ minP: 0.1, repetitionPenalty: 1.2 });
  });

  it.each([
    [{ 'min-p': 1.5 }, '--min-p: expected a number from 0 to 1, received 1.5'],
    [{ 'repetition-penalty': 0 }, '--repetition-penalty: expected a number from 0.01 to 100, received 0'],
    [{ 'min-p': 0.1, greedy: true }, '--greedy does not sample, so --min-p has no effect'],
  ])('have ranges: %o', (given, message) => {
    expect(() => checkSampling({ ...args, ...given })).toThrow(message);
  });

  it('goes with --greedy', () => {
    expect(() => checkSampling({ ...args, greedy: true, 'repetition-penalty': 1.2 })).not.toThrow();
  });
});
