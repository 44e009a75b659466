/** How a worker tells by its exit code how its run ended. */
import { expect, it } from 'vitest';
import { codeOfEnd, endOfCode, type RunEnd } from '../../../src/worker/runEnd.ts';

it('an exit code says how the run ended, and whether the worker was asked to leave a run that continues', () => {
  const codes: [RunEnd, boolean, number][] = [
    ['complete', false, 0],
    ['complete', true, 87],
    ['unfinished', false, 85],
    ['interrupted', false, 130],
    ['failed', false, 86],
  ];
  for (const [runEnd, hasLeft, code] of codes) {
    expect(codeOfEnd(runEnd, hasLeft)).toBe(code);
    expect(endOfCode(code)).toEqual({ runEnd, hasLeft });
  }
  // The run ended before it let the worker go.
  expect(codeOfEnd('failed', true)).toBe(86);
  for (const code of [1, 2, 143, null]) expect(endOfCode(code)).toEqual({ runEnd: undefined, hasLeft: false });
});
