import { expect, it } from 'vitest';
import { progressLine } from '../../../src/cli/prepareProgress.ts';

it('says how much is done, how fast, and how long it still takes', () => {
  const facts = {
    phase: 'tokens',
    bytesRead: 2 ** 30,
    totalBytes: 2 ** 31,
    tokens: 3e8,
    seconds: 100,
    start: { bytes: 0, tokens: 0 },
  } as const;
  expect(progressLine(facts)).toBe(
    '[############------------] 50 %  1.0 GiB of 2.0 GiB  3,000,000 tokens/s  1:40 left',
  );
  // What was done before a resume does not count for the speed.
  expect(progressLine({ ...facts, start: { bytes: 2 ** 29, tokens: 2e8 } })).toMatch(
    / 1,000,000 tokens\/s {2}3:20 left$/,
  );
  // Nor has a phase a speed that has just begun.
  expect(progressLine({ ...facts, tokens: 524_285, seconds: 0.001 })).toBe(
    '[############------------] 50 %  1.0 GiB of 2.0 GiB  524,285 tokens',
  );
  expect(progressLine({ ...facts, phase: 'characters' })).toMatch(/2\.0 GiB {2}collecting characters {2}1:40 left$/);
  expect(progressLine({ ...facts, totalBytes: 0 })).toBe('1.0 GiB  3,000,000 tokens/s');
  // A file may have grown.
  expect(progressLine({ ...facts, totalBytes: 1 })).toMatch(/^\[#{24}\] 100 % .* 0:00 left$/);
});
