/** How many workers somebody has to start before a run continues. */
import { expect, it } from 'vitest';
import { awaitedWorkers } from '../../../src/cli/train.ts';
import type { Member, RunState } from '../../../src/coordinator/core/runState.ts';

const gathering = {
  stage: 'gathering',
  stopRequested: false,
  needed: 3,
  starting: [],
  joiners: [],
} as unknown as RunState;
const joiners = [{ leaving: false }, { leaving: true }] as Member[];

it.each([
  ['nobody is left', {}, 3],
  ['one has joined, one leaves, one is started again', { joiners, starting: ['local-0001'] }, 1],
  ['the run trains', { stage: 'stepping' } as const, 0],
  ['the run is to end', { stopRequested: true }, 0],
])('%s', (_, now, expected) => {
  expect(awaitedWorkers({ ...gathering, ...now })).toBe(expected);
});
