import { expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { asTokenBatch, nextTokenWindows } from '../../../src/task/nextToken.ts';
import { collate } from '../../../src/task/task.ts';

const window = Uint16Array.of(7, 8, 9);

it('a window is its tokens, and of each the one that follows', () => {
  const sample = nextTokenWindows.encode(nextTokenWindows.parse(window, 'here'));
  expect(sample).toEqual({ tokens: Uint16Array.of(7, 8), targets: Uint16Array.of(8, 9) });
});

it('a window of one token has nothing to predict', () => {
  const parse = () => nextTokenWindows.parse(window.subarray(0, 1), 'sample 3 of step 5');
  expect(parse).toThrow(UserError);
  expect(parse).toThrow('sample 3 of step 5: expected at least 2 tokens');
});

it('samples are padded to one length, and padding weighs nothing', () => {
  const samples = [window, window.subarray(1)].map((row) => nextTokenWindows.encode(row));
  const batch = collate(nextTokenWindows.fields, samples, 3);
  const { tokens, targets } = asTokenBatch(batch).arrays;
  expect([...tokens.data]).toEqual([7, 8, 0, 8, 0, 0]);
  expect([...targets.data]).toEqual([8, 9, -1, 9, -1, -1]);
  expect(nextTokenWindows.weight(batch)).toBe(3);
});

it('a sample that is longer than the others are padded to is a bug', () => {
  const samples = [nextTokenWindows.encode(window)];
  expect(() => collate(nextTokenWindows.fields, samples, 1)).toThrow(/at most 1 numbers/);
});
