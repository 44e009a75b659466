import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { PeerError, UserError } from '../../../src/base/errors.ts';
import { awaitCoordinator } from '../../../src/comm/awaitCoordinator.ts';
import type { ControlClient, Transport } from '../../../src/comm/link.ts';
import { UnreachableError } from '../../../src/comm/linkAddress.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** @param outcomes of the attempts; the last one stays */
function waiting(outcomes: readonly (Error | 'answers')[], waitMs: number, signal?: AbortSignal) {
  const peers: string[] = [];
  const whys: string[] = [];
  let closed = 0;
  const connect: Transport['connect'] = async (_, peerId) => {
    const outcome = outcomes[Math.min(peers.length, outcomes.length - 1)];
    peers.push(peerId);
    if (outcome instanceof Error) throw outcome;
    return { close: async () => void closed++ } as unknown as ControlClient;
  };
  let result: unknown;
  void awaitCoordinator({
    transport: { connect } as Transport,
    ...{ address: 'tcp://run-0:1', peerId: 'p', waitMs, onWait: (why) => void whys.push(why), signal },
  }).then(
    () => {
      result = 'answers';
    },
    (error: unknown) => {
      result = error;
    },
  );
  return { peers, whys, closed: () => closed, result: () => result };
}

const unknown = new UnreachableError('The host is not known here.', 'its name is not known here');
const silent = new UnreachableError('Nobody answers.', 'nothing answers');

it('tries again while the name is unknown and nothing answers, as another client each time', async () => {
  const { peers, whys, closed, result } = waiting([unknown, unknown, silent, 'answers'], 60_000);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(result()).toBe('answers');
  expect(peers).toEqual(['p.0', 'p.1', 'p.2', 'p.3']);
  expect(whys).toEqual([unknown.why, unknown.why, silent.why]);
  expect(closed()).toBe(1);
});

it('gives up when the time is over, and after one attempt without any', async () => {
  const long = waiting([unknown], 5_000);
  await vi.advanceTimersByTimeAsync(4_000);
  expect(long.result()).toBeUndefined();
  await vi.advanceTimersByTimeAsync(1_500);
  expect(long.result()).toEqual(
    new UnreachableError('The host is not known here. This machine has tried for 5 s.', unknown.why),
  );
  const none = waiting([silent], 0);
  await vi.advanceTimersByTimeAsync(0);
  expect(none).toMatchObject({ peers: ['p.0'], whys: [] });
  expect(none.result()).toBe(silent);
});

it.each([new UserError('does not know this key'), new PeerError('is not a coordinator')])(
  'does not try again: $message',
  async (refusal) => {
    const { peers, result } = waiting([refusal, 'answers'], 60_000);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(peers).toHaveLength(1);
    expect(result()).toBe(refusal);
  },
);

it('ends when it is no longer wanted', async () => {
  const end = new AbortController();
  const { peers, result } = waiting([silent], 60_000, end.signal);
  await vi.advanceTimersByTimeAsync(100);
  end.abort();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(peers).toHaveLength(1);
  expect(result()).toMatchObject({ name: 'AbortError' });
});
