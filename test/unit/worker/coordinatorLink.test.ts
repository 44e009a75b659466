/** How a worker comes back to its coordinator: which failures it tries again, for how long, and which end it. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { PeerError, UserError } from '../../../src/base/errors.ts';
import type { ControlClient, Transport } from '../../../src/comm/link.ts';
import { UnreachableError } from '../../../src/comm/linkAddress.ts';
import { decodeWorkerMessage, encodeMessage } from '../../../src/comm/protocol.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { CoordinatorLink } from '../../../src/worker/coordinatorLink.ts';

const rejoinTimeoutMs = 5_000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A worker that has joined, and whose coordinator is then gone: each attempt to reconnect ends as the next outcome says. */
async function loseCoordinator(outcomes: Iterator<Error | undefined>) {
  const sent: string[] = [];
  const lost: Error[] = [];
  let gone: (reason: string) => void = () => {};
  let attempts = 0;
  let receive: (frame: Uint8Array) => void = () => {};
  const client = (): ControlClient => ({
    send: (frame) => void sent.push(decodeWorkerMessage(frame).type),
    onMessage: (listener) => {
      receive = listener;
    },
    onServerGone: (listener) => {
      gone = listener;
    },
    close: async () => {},
  });
  const connect: Transport['connect'] = async () => {
    const { value } = attempts++ === 0 ? { value: undefined } : outcomes.next();
    if (value !== undefined) throw value;
    return client();
  };
  const link = await CoordinatorLink.open({
    transport: { connect } as Transport,
    address: 'tcp://run-0.run:5555',
    ...{ worker: 'w', host: 'h', pid: 1, clock: systemClock, token: undefined },
    ringAddress: () => 'tcp://10.0.0.2:1',
    claim: () => undefined,
    pulse: () => ({ step: 0, phase: 'waiting for work', ringFrames: 0 }),
    record: () => {},
    onMessage: () => {},
    onWelcome: () => {},
    onLost: (error) => lost.push(error),
  });
  const joined = link.join();
  const config = configSchema.parse({ comm: { rejoinTimeoutMs } });
  receive(
    encodeMessage({
      type: 'welcome',
      ...{ runId: 'r', config: { ...config }, vocabSize: 65, objective: 'crossEntropy', trace: false },
    }),
  );
  await joined;
  gone('its connection is closed');
  return { sent, lost, link, attempts: () => attempts - 1 };
}

function* forever(error: Error) {
  for (;;) yield error;
}

it.each<[string, Error]>([
  ['nothing answers', new UnreachableError('Nobody answers', 'nothing answers')],
  ['the name is not known', new UnreachableError('The host "run-0.run" is not known here', 'unknown')],
  ['something else answers', new PeerError('The server is not a coordinator')],
  ['the system fails', Object.assign(new Error('connect EMFILE'), { code: 'EMFILE' })],
])('%s for a while: it tries again, and joins again', async (_, failure) => {
  const { sent, lost, link, attempts } = await loseCoordinator([failure, failure, failure, undefined].values());
  await vi.advanceTimersByTimeAsync(1_000);
  expect(attempts()).toBe(4);
  expect(sent.filter((type) => type === 'join')).toHaveLength(2);
  expect(lost).toEqual([]);
  await link.close();
});

it('for longer than comm.rejoinTimeoutMs: it is lost, and says why', async () => {
  const { lost, attempts } = await loseCoordinator(forever(new UnreachableError('the name is not known', 'unknown')));
  await vi.advanceTimersByTimeAsync(rejoinTimeoutMs - 1_000);
  expect(lost).toEqual([]);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(attempts()).toBeGreaterThan(10);
  expect(lost).toEqual([
    new PeerError(
      'lost the coordinator: its connection is lost: its connection is closed. The last attempt to reconnect: the name is not known',
    ),
  ]);
});

it('refused: it does not try again', async () => {
  const refused = new UserError('The coordinator does not know this key');
  const { lost, attempts } = await loseCoordinator(forever(refused));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(attempts()).toBe(1);
  expect(lost).toEqual([refused]);
});
