/** Which losses of workers are decided together. */
import { expect, it } from 'vitest';
import { type Clock, systemClock } from '../../../src/base/clock.ts';
import type { RunEvent } from '../../../src/coordinator/core/runEvents.ts';
import { Timers } from '../../../src/coordinator/timers.ts';
import { WorkerLosses } from '../../../src/coordinator/workerLosses.ts';

/** A clock on which time passes only in `pass`. */
function losses(localWorkers: string[] = []) {
  let nowMs = 0;
  const waiting = new Map<() => void, number>();
  const after: Clock['after'] = (ms, run) => {
    waiting.set(run, nowMs + ms);
    return () => void waiting.delete(run);
  };
  const pass = (ms: number) => {
    nowMs += ms;
    for (const [run, due] of waiting) {
      if (due <= nowMs && waiting.delete(run)) run();
    }
  };
  const events: RunEvent[] = [];
  const timers = new Timers({ ...systemClock, after });
  const lost = new WorkerLosses({ localWorkers, timers, onEvent: (event) => events.push(event) });
  return { lost, pass, events, timers, waiting };
}

it('losses within a moment are one event, and a later one is another', () => {
  const { lost, pass, events } = losses();
  lost.peerGone('a.1.1', 'closed');
  pass(2);
  lost.peerGone('b.2.1', 'closed');
  expect(events).toEqual([]);
  pass(3);
  const [a, b] = ['a.1.1', 'b.2.1'].map((id) => ({ kind: 'peerGone', id, reason: 'closed' }));
  expect(events).toEqual([{ kind: 'losses', losses: [a, b] }]);
  lost.peerGone('a.1.1', 'closed');
  pass(5);
  expect(events.slice(1)).toEqual([a]);
});

it('the exit of a worker of this machine is known before the loss of its connection counts', () => {
  const { lost, pass, events } = losses(['local-0000']);
  lost.peerGone('local-0000.7.1', 'closed');
  pass(100);
  const exit = { kind: 'workerExited', worker: 'local-0000', pid: 7, description: 'was killed', clean: false } as const;
  lost.add(exit);
  pass(5);
  expect(events).toEqual([exit]);
  pass(300);
  pass(5);
  expect(events.slice(1)).toEqual([{ kind: 'peerGone', id: 'local-0000.7.1', reason: 'closed' }]);
});

it('nothing is reported when the coordinator has been closed', () => {
  const { lost, pass, events, timers, waiting } = losses();
  lost.peerGone('a.1.1', 'closed');
  timers.close();
  lost.peerGone('b.2.1', 'closed');
  pass(1_000);
  expect(events).toEqual([]);
  expect(waiting.size).toBe(0);
});
