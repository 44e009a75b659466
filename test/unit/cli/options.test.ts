import { describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { countsOption } from '../../../src/cli/options.ts';

describe('countsOption', () => {
  const range = { min: 2, max: 64 };

  it('reads numbers with commas between', () => {
    expect(countsOption('ranks', '2', range)).toEqual([2]);
    expect(countsOption('ranks', '4,2,64', range)).toEqual([4, 2, 64]);
  });

  it.each(['', '1', '65', '2,', '2;4', '2.5', 'two', '2,-4', '1e9'])('refuses "%s"', (text) => {
    expect(() => countsOption('ranks', text, range)).toThrow(UserError);
    expect(() => countsOption('ranks', text, range)).toThrow(
      `Expected numbers from 2 to 64 for --ranks, like 2,4, but received "${text}".`,
    );
  });
});
