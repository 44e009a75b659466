/** The local path of the ring, where it cannot be had or is abused: frames still arrive, through ZeroMQ, and nothing else does. */
import { connect } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import * as zmq from 'zeromq';
import { ringHeaderBytes } from '../../src/comm/link.ts';
import { localHostId } from '../../src/comm/unixSocketRing.ts';
import { zmqTransport } from '../../src/comm/zmqLink.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

const header = (first: number) => new Uint8Array(ringHeaderBytes).fill(first, 0, 1);

it.runIf(localHostId())(
  'an offer that the next rank cannot take up: the frames come through ZeroMQ, in order',
  async () => {
    const pull = new zmq.Pull({ linger: 0 });
    cleanups.push(() => pull.close());
    await pull.bind('tcp://127.0.0.1:*');
    const logged: string[] = [];
    const ring = await zmqTransport({ log: (message) => logged.push(message) }).openRing('127.0.0.1');
    cleanups.push(() => ring.close());
    ring.connect(`${pull.lastEndpoint}/${localHostId()}`, ring.address);
    for (const first of [1, 2, 3]) ring.send(header(first), new Uint8Array(1000).fill(first));
    const offer = await pull.receive();
    expect(offer.map(String)).toEqual([
      expect.stringMatching(/^lockstep-ring-[0-9a-f]{32} [0-9a-f]{64} [0-9a-f]{64}$/),
    ]);
    for (const first of [1, 2, 3]) {
      const [head, payload] = await pull.receive();
      expect([head![0], payload!.length, payload![0]]).toEqual([first, 1000, first]);
    }
    expect(logged).toEqual([expect.stringContaining('using TCP')]);
    // The offer does not stand any more.
    const late = connect(`\0${String(offer[0]).split(' ')[0]}`);
    await expect(new Promise((resolve) => late.on('error', (error) => resolve(error.message)))).resolves.toMatch(
      /ECONNREFUSED/,
    );
  },
);

it.runIf(localHostId())('a local stream that announces a frame above the bound is cut off', async () => {
  const logged: string[] = [];
  const small = zmqTransport({ maxMessageBytes: 1000, log: (message) => logged.push(message) });
  const receiver = await small.openRing('127.0.0.1');
  const sender = await zmqTransport().openRing('127.0.0.1');
  cleanups.push(() => Promise.all([receiver.close(), sender.close()]));
  const received: number[] = [];
  receiver.onFrame((_header, payload) => {
    received.push(payload.length);
    return undefined;
  });
  const gone = new Promise<string>((resolve) => sender.onNextGone(resolve));
  sender.connect(receiver.address, receiver.address);
  sender.send(header(1), new Uint8Array(1000));
  sender.send(header(2), new Uint8Array(1001));
  await gone;
  expect(received).toEqual([1000]);
  expect(receiver.dropped).toBe(1);
  expect(logged).toEqual([expect.stringContaining('1001 bytes is above the limit of 1000')]);
});
