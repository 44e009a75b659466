import { expect, it } from 'vitest';
import { nearest, nearestWord } from '../../../src/base/nearest.ts';

const same = (word: string) => word;

it('finds the word with the fewest letters inserted, deleted or replaced', () => {
  for (const [word, expected] of [
    ['siting', 'sitting'],
    ['kitten', undefined],
    ['steps', 'step'],
    ['maxstps', 'maxSteps'],
    ['max_steps', 'maxSteps'],
    ['', undefined],
    ['abcdefgh', undefined],
  ] as const) {
    expect(nearest(word, ['sitting', 'step', 'maxSteps'], same), word).toBe(expected);
  }
  expect(nearest('ab', ['abc', 'ab', 'b'], same)).toBe('ab');
});

it('finds a short word whose letters changed places', () => {
  expect(nearest('stpe', ['step', 'note'], same)).toBe(undefined);
  expect(nearestWord('stpe', ['step', 'note'])).toBe('step');
});
