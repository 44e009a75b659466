/** Which workers of `launch join` are started again, when, and what is left at the end. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { JoinedWorkers } from '../../../src/cli/joinedWorkers.ts';
import type { WorkerExit } from '../../../src/worker/spawn.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const killed = { description: 'was killed by SIGKILL', clean: false };
const done = { description: 'exited with code 0', clean: true };
const refused = {
  description: 'failed: refused',
  clean: false,
  failure: { step: 0, phase: 'starting', message: 'refused', blame: 'user' },
} as const;

function joinedWorkers({ names = ['a', 'b'], restartsMax = 3, answers = () => Promise.resolve() } = {}) {
  const started: string[] = [];
  const warnings: string[] = [];
  const asked: string[] = [];
  let exited: (exit: WorkerExit) => void = () => {};
  const joined = JoinedWorkers.start({
    names,
    restartsMax,
    fork: (onExit) => {
      exited = onExit;
      return {
        start: (name) => void started.push(name),
        kill: () => {},
        leave: () => void asked.push('leave'),
        stop: async () => void asked.push('stop'),
        ended: async () => {},
      };
    },
    coordinator: answers,
    warn: (line) => void warnings.push(line),
  });
  let losses: unknown;
  void joined.ended().then((found) => {
    losses = found;
  });
  const exit = (worker: string, how: Omit<WorkerExit, 'worker' | 'pid'>) => exited({ worker, pid: 1, ...how });
  return { joined, started, warnings, asked, exit, losses: () => losses };
}

it('starts one that dies again, after a pause that doubles, until none is left', async () => {
  const { started, warnings, exit, losses } = joinedWorkers({ names: ['a'], restartsMax: 2 });
  exit('a', killed);
  await vi.advanceTimersByTimeAsync(249);
  expect(started).toEqual(['a']);
  await vi.advanceTimersByTimeAsync(1);
  expect(started).toEqual(['a', 'a']);
  exit('a', killed);
  await vi.advanceTimersByTimeAsync(499);
  expect(started).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(1);
  expect(started).toHaveLength(3);
  expect(losses()).toBeUndefined();
  exit('a', killed);
  await vi.advanceTimersByTimeAsync(0);
  expect(losses()).toEqual([{ exit: { worker: 'a', pid: 1, ...killed } }]);
  expect(warnings).toEqual([
    'worker a was killed by SIGKILL; it is started again in 0.3 s (1 of 2 restarts)',
    'worker a was killed by SIGKILL; it is started again in 0.5 s (2 of 2 restarts)',
  ]);
});

it('does not start one again that was refused, and says so when the others have ended', async () => {
  const { started, exit, losses } = joinedWorkers();
  exit('a', refused);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(started).toEqual(['a', 'b']);
  exit('b', done);
  await vi.advanceTimersByTimeAsync(0);
  expect(losses()).toEqual([{ exit: { worker: 'a', pid: 1, ...refused } }]);
});

it('starts none again once the run has ended', async () => {
  const { started, exit, losses } = joinedWorkers();
  exit('a', killed);
  exit('b', done);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(started).toEqual(['a', 'b']);
  expect(losses()).toEqual([]);
});

it('starts others again after one was asked to leave: the run continues', async () => {
  const { joined, started, exit, losses } = joinedWorkers();
  exit('a', { ...done, runEnd: 'complete', hasLeft: true });
  expect(joined.runEnd).toBeUndefined();
  exit('b', killed);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(started).toEqual(['a', 'b', 'b']);
  exit('b', done);
  await vi.advanceTimersByTimeAsync(0);
  expect(losses()).toEqual([]);
});

it.each(['leave', 'stop'] as const)('starts none again after a request to %s', async (request) => {
  const { joined, started, asked, exit, losses } = joinedWorkers();
  exit('a', killed);
  void joined[request]();
  exit('b', killed);
  await vi.advanceTimersByTimeAsync(60_000);
  expect({ started, asked }).toEqual({ started: ['a', 'b'], asked: [request] });
  expect(losses()).toEqual([{ exit: { worker: 'b', pid: 1, ...killed } }]);
});

it('starts it again when the coordinator answers, and gives it up if that takes too long', async () => {
  const later = [
    () => new Promise<void>((resolve) => void setTimeout(resolve, 20_000)),
    () => Promise.reject(new Error('nobody answers')),
  ];
  const { started, exit, losses } = joinedWorkers({ names: ['a'], answers: () => later.shift()!() });
  exit('a', killed);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(started).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(250);
  expect(started).toHaveLength(2);
  exit('a', killed);
  await vi.advanceTimersByTimeAsync(500);
  expect(losses()).toEqual([{ exit: { worker: 'a', pid: 1, ...killed }, reason: 'nobody answers' }]);
});

it('tells the gravest end of the run: a worker that left before says only that nothing is left for it', () => {
  const { joined, exit } = joinedWorkers();
  expect(joined.runEnd).toBeUndefined();
  exit('a', { ...done, runEnd: 'complete' });
  expect(joined.runEnd).toBe('complete');
  exit('b', { ...done, runEnd: 'unfinished' });
  expect(joined.runEnd).toBe('unfinished');
  const other = joinedWorkers();
  other.exit('a', { ...done, runEnd: 'failed' });
  other.exit('b', { ...done, runEnd: 'unfinished' });
  expect(other.joined.runEnd).toBe('failed');
});
