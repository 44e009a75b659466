/** How many workers somebody has to start before a run continues, and when the run says so. */
import { expect, it } from 'vitest';
import { awaitedWorkers, WaitingHint } from '../../../src/cli/waitingHint.ts';
import type { Member, RunState } from '../../../src/coordinator/core/runState.ts';
import type { LoggedEvent } from '../../../src/records/eventsLog.ts';

const plan = { localWorkers: ['local-0001'], restartsMax: 2 };
const gathering = {
  ...{ stage: 'gathering', stopRequested: false, needed: 3, plan, restarts: 0 },
  ...{ starting: [], joiners: [], missing: [] },
} as unknown as RunState;
const joiners = [{ leaving: false }, { leaving: true }] as Member[];
const missing = ['local-0001', 'host-0000'].map((worker) => ({ worker, sinceMs: 0 }));

it.each([
  ['nobody is left', {}, 3],
  ['one has joined, one leaves, one is started again', { joiners, starting: ['local-0001'] }, 1],
  ['a silent local worker is started again, one of another machine is not', { missing }, 2],
  ['no restart is left', { missing, restarts: 2 }, 3],
  ['the run trains', { stage: 'stepping' } as const, 0],
  ['the run is to end', { stopRequested: true }, 0],
])('%s', (_, now, expected) => {
  expect(awaitedWorkers({ ...gathering, ...now })).toBe(expected);
});

it('says it once for workers that are lost together, and again for the next', () => {
  let state: RunState = { ...gathering, needed: 2 };
  const lines: string[] = [];
  const hint = new WaitingHint(
    () => state,
    (line) => lines.push(line),
  );
  const happens = (event: LoggedEvent['event']) => hint.event({ event } as LoggedEvent);
  happens('lost');
  expect(lines).toEqual([]);
  hint.join = 'launch join HOST';
  state = { ...state, joiners };
  happens('join');
  state = { ...gathering, needed: 2 };
  happens('lost');
  happens('lost');
  expect(lines).toEqual(['waiting for 2 more: launch join HOST']);
  state = { ...state, joiners };
  happens('join');
  expect(lines).toHaveLength(1);
  state = { ...gathering, needed: 2 };
  happens('leave');
  expect(lines).toHaveLength(2);
});
