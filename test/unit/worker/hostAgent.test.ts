/** The agent of a host between its workers and a coordinator's link, and the channel to it. */
import { setImmediate as eventLoop } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import { PeerError, UserError } from '../../../src/base/errors.ts';
import { ReportReader } from '../../../src/comm/hostReports.ts';
import { HostServer } from '../../../src/comm/hostServer.ts';
import { encodeShares } from '../../../src/comm/hostShares.ts';
import type { ControlServer, Transport } from '../../../src/comm/link.ts';
import { memoryTransport } from '../../../src/comm/memoryLink.ts';
import { decodeCoordinatorMessage, encodeMessage } from '../../../src/comm/protocol.ts';
import { HostAgent, NoAgent } from '../../../src/worker/hostAgent.ts';
import {
  type FromHost,
  type HostChannel,
  serveHost,
  type ToHost,
  throughHost,
} from '../../../src/worker/hostChannel.ts';

const sums = { weight: 1, loss: 1 };
const ready = encodeMessage({ type: 'ready', term: 1, step: 0 });
const reducedFrom = (sampleFrom: number, step = 1) =>
  encodeMessage({ type: 'reduced', term: 1, step, sampleFrom, sampleCount: 1, sums, gradNorm: 1 });
const reduced = reducedFrom(0);
const beat = encodeMessage({ type: 'heartbeat', step: 1, phase: 'optimizer', ringFrames: 0 });
const leave = encodeMessage({ type: 'leave' });

class TestClock implements Clock {
  #nowMs = 0;
  readonly #due = new Set<{ readonly atMs: number; readonly run: () => void }>();

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, run };
    this.#due.add(timer);
    return () => void this.#due.delete(timer);
  }

  every(): () => void {
    throw new Error('nothing repeats here');
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    for (const timer of [...this.#due]) {
      if (timer.atMs <= this.#nowMs && this.#due.delete(timer)) timer.run();
    }
  }
}

interface Heard {
  readonly peer: string;
  readonly message: readonly number[];
  readonly payload: readonly number[] | undefined;
}

/** A coordinator's link, counting the messages of the wire. */
async function coordinator(transport: Transport) {
  const server = await transport.listen('memory://0');
  let frames = 0;
  const counting: ControlServer = {
    ...server,
    onMessage: (listener) =>
      server.onMessage((...args) => {
        frames++;
        listener(...args);
      }),
  };
  const hosts = new HostServer(counting);
  const heard: Heard[] = [];
  const together: (readonly string[])[] = [];
  const gone: string[] = [];
  // As if each had come alone.
  const reader = new ReportReader();
  hosts.onReports((peers, message) => {
    for (const [i, report] of reader.read(message, peers.length).entries())
      heard.push({ peer: peers[i]!, message: [...encodeMessage(report)], payload: undefined });
    together.push(peers);
  });
  hosts.onMessage((peer, message, payload) => {
    heard.push({ peer, message: [...message], payload: payload && [...payload] });
  });
  hosts.onPeerGone((peer) => void gone.push(peer));
  return { server: hosts, heard, together, gone, frames: () => frames };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 12; i++) await eventLoop();
}

function agentOf(transport: Transport, coordinatorAddress: string, clock: TestClock): HostAgent {
  return new HostAgent({ transport, coordinatorAddress, name: 'agent', clock });
}

describe('the agent of a host', () => {
  it('puts the reports of all its workers into one message, when the last one comes', async () => {
    const transport = memoryTransport();
    const { server, heard, together, frames } = await coordinator(transport);
    const agent = agentOf(transport, server.address, new TestClock());
    const [one, two, guest] = await Promise.all(['one', 'two', 'guest'].map((peer) => agent.connect(peer)));
    // The guest is not in the ring.
    for (const client of [one, two]) client!.send(ready);
    guest!.send(leave);
    await settle();
    const before = frames();
    one!.send(reduced);
    await settle();
    expect(frames()).toBe(before);
    two!.send(reducedFrom(1));
    await settle();
    expect(frames()).toBe(before + 1);
    expect(heard.slice(-2)).toEqual([
      { peer: 'one', message: [...reduced], payload: undefined },
      { peer: 'two', message: [...reducedFrom(1)], payload: undefined },
    ]);
    expect(together).toEqual([['one', 'two']]);
  });

  it('keeps the order of what each worker sends, however its reports are put together', async () => {
    const transport = memoryTransport();
    const { server, heard, together } = await coordinator(transport);
    const agent = agentOf(transport, server.address, new TestClock());
    const names = ['one', 'two', 'three'];
    const clients = await Promise.all(names.map((peer) => agent.connect(peer)));
    for (const client of clients) client.send(ready);
    await settle();
    heard.length = 0;
    const sent = new Map<string, Uint8Array[]>(names.map((name) => [name, []]));
    const send = (name: string, message: Uint8Array) => {
      sent.get(name)!.push(message);
      clients[names.indexOf(name)]!.send(message);
    };
    send('one', beat);
    send('two', reducedFrom(1));
    // Behind its gradients, not beside the other's sign of life.
    send('two', beat);
    send('one', reducedFrom(0));
    // It is about another step: alone.
    send('three', reducedFrom(2, 0));
    send('three', beat);
    send('one', leave);
    await settle();
    for (const name of names) {
      const received = heard.filter(({ peer }) => peer === name).map(({ message }) => message);
      expect(received).toEqual(sent.get(name)!.map((message) => [...message]));
    }
    expect(together).toEqual([['two', 'one']]);
  });

  it('passes on alone what the coordinator would not accept as a report', async () => {
    const transport = memoryTransport();
    const { server, heard, together } = await coordinator(transport);
    const agent = agentOf(transport, server.address, new TestClock());
    const clients = await Promise.all(['one', 'two'].map((peer) => agent.connect(peer)));
    const odd = encodeMessage({ type: 'heartbeat', step: 1, phase: 'optimizer', ringFrames: -1 });
    for (const client of clients) client.send(odd);
    await settle();
    expect(heard.map(({ message }) => message)).toEqual([[...odd], [...odd]]);
    expect(together).toEqual([]);
  });

  it('does not wait long for a worker that does not report, and not at all with other messages', async () => {
    const transport = memoryTransport();
    const clock = new TestClock();
    const { server, heard, frames } = await coordinator(transport);
    const agent = agentOf(transport, server.address, clock);
    const [one, two] = await Promise.all(['one', 'two'].map((peer) => agent.connect(peer)));
    for (const client of [one, two]) client!.send(ready);
    two!.send(beat);
    one!.send(reduced);
    await settle();
    const before = frames();
    clock.advance(5);
    await settle();
    expect(frames()).toBe(before + 1);
    expect(heard.slice(-2).map(({ peer, message }) => [peer, message])).toEqual([
      ['two', [...beat]],
      ['one', [...reduced]],
    ]);
    one!.send(reduced);
    two!.send(leave);
    await settle();
    expect(frames()).toBe(before + 2);
    expect(heard.slice(-2).map(({ message }) => message)).toEqual([[...reduced], [...leave]]);
  });

  it('passes on what the coordinator sends, payloads included, to the worker that it is for', async () => {
    const transport = memoryTransport();
    const { server } = await coordinator(transport);
    const agent = agentOf(transport, server.address, new TestClock());
    const received: [string, number, number | undefined][] = [];
    for (const peer of ['one', 'two']) {
      const client = await agent.connect(peer);
      client.onMessage((message, payload) => void received.push([peer, message[0]!, payload?.[0]]));
      client.send(leave);
    }
    await settle();
    server.send('one', Uint8Array.of(1));
    server.send('two', Uint8Array.of(1));
    server.send('two', Uint8Array.of(2), Uint8Array.of(3));
    await settle();
    expect(received).toEqual([
      ['one', 1, undefined],
      ['two', 1, undefined],
      ['two', 2, 3],
    ]);
  });

  it('divides the samples that the coordinator sends to several workers, and is lost with malformed ones', async () => {
    const transport = memoryTransport();
    const { server } = await coordinator(transport);
    const agent = agentOf(transport, server.address, new TestClock());
    const received = new Map<string, readonly [number, number[]]>();
    const reasons: string[] = [];
    for (const peer of ['one', 'two']) {
      const client = await agent.connect(peer);
      client.onMessage((message, payload) => {
        const assign = decodeCoordinatorMessage(message);
        if (assign.type === 'assign') received.set(peer, [assign.sampleFrom, [...payload!]]);
      });
      client.onServerGone((reason) => void reasons.push(reason));
      client.send(leave);
    }
    await settle();
    const fields = [{ name: 'tokens', dtype: 'int32' as const, shape: [1] }];
    const place = { term: 1, step: 1, sampleFrom: 4, fields, globalWeight: 3, trace: false };
    const shares = encodeShares({ ...place, sampleCounts: [2, 1] });
    const payload = Uint8Array.from({ length: 12 }, (_, i) => i);
    server.sendShares('agent.1', ['one', 'two'], shares, payload);
    await settle();
    expect([...received]).toEqual([
      ['one', [4, [0, 1, 2, 3, 4, 5, 6, 7]]],
      ['two', [6, [8, 9, 10, 11]]],
    ]);
    server.sendShares('agent.1', ['one', 'two'], shares, payload.subarray(1));
    await settle();
    expect(reasons).toEqual(['it sends malformed envelopes', 'it sends malformed envelopes']);
  });

  it('tells the coordinator of a worker that closes, and the workers of a coordinator that is gone', async () => {
    const transport = memoryTransport();
    const { server, gone } = await coordinator(transport);
    const agent = agentOf(transport, server.address, new TestClock());
    const reasons: string[] = [];
    const [one, two] = await Promise.all(['one', 'two'].map((peer) => agent.connect(peer)));
    for (const client of [one, two]) client!.send(leave);
    two!.onServerGone((reason) => void reasons.push(reason));
    await settle();
    await one!.close();
    await settle();
    expect(gone).toEqual(['one']);
    await server.close();
    await settle();
    expect(reasons).toEqual(['its connection is closed']);
    await expect(agent.connect('two')).rejects.toThrow(PeerError);
    // A coordinator at the same address later.
    const next = new HostServer(await transport.listen(server.address));
    next.onMessage(() => {});
    await expect(agent.connect('two')).resolves.toBeDefined();
  });

  it('sends workers away while the coordinator does not answer envelopes', async () => {
    const transport = memoryTransport();
    const clock = new TestClock();
    const silent = await transport.listen('memory://0');
    silent.onMessage(() => {});
    const agent = agentOf(transport, silent.address, clock);
    const attempts = ['one', 'two'].map((peer) => agent.connect(peer).catch((error: unknown) => error));
    await settle();
    clock.advance(3_000);
    for (const error of await Promise.all(attempts)) expect(error).toBeInstanceOf(NoAgent);
  });
});

/** Both ends of a channel in this process. */
function channels() {
  const ends = [0, 1].map(() => {
    return { listener: (_: unknown): void => {}, closed: (): void => {} };
  });
  let isClosed = false;
  const end = (own: number) => ({
    send: async (message: unknown) => {
      await eventLoop();
      if (!isClosed) ends[1 - own]!.listener(structuredClone(message));
    },
    onMessage: (listener: (message: never) => void) => {
      ends[own]!.listener = listener as (message: unknown) => void;
    },
    onClosed: (listener: () => void) => {
      ends[own]!.closed = listener;
    },
  });
  const close = () => {
    isClosed = true;
    for (const { closed } of ends) closed();
  };
  return { ofWorker: end(0) as HostChannel<FromHost, ToHost>, ofAgent: end(1) as HostChannel<ToHost, FromHost>, close };
}

describe('a worker behind a channel', () => {
  it('is connected through the agent, whose end it learns of, and then by itself', async () => {
    const transport = memoryTransport();
    const clock = new TestClock();
    const { server, heard, gone, frames } = await coordinator(transport);
    const { ofWorker, ofAgent, close } = channels();
    serveHost(agentOf(transport, server.address, clock), ofAgent);
    const own = throughHost(transport, ofWorker, clock);
    const client = await own.connect(server.address, 'w.1.1');
    const reasons: string[] = [];
    client.onServerGone((reason) => void reasons.push(reason));
    const received: number[] = [];
    client.onMessage((message) => void received.push(message[0]!));
    client.send(leave, Uint8Array.of(7));
    await settle();
    // The agent's question is the first.
    expect(frames()).toBe(2);
    expect(heard).toEqual([{ peer: 'w.1.1', message: [...leave], payload: [7] }]);
    server.send('w.1.1', Uint8Array.of(4));
    await settle();
    expect(received).toEqual([4]);
    close();
    await settle();
    expect(reasons).toEqual(['the agent of this host has ended']);
    expect(gone).toEqual(['w.1.1']);
    const direct = await own.connect(server.address, 'w.1.2');
    direct.send(leave);
    await settle();
    expect(heard.at(-1)?.peer).toBe('w.1.2');
  });

  it('is told why there is no connection, as without an agent', async () => {
    const user = { ...memoryTransport(), connect: () => Promise.reject(new UserError('another key')) };
    for (const [transport, error] of [
      [memoryTransport(), PeerError],
      [user, UserError],
    ] as const) {
      const { ofWorker, ofAgent } = channels();
      const clock = new TestClock();
      serveHost(agentOf(transport, 'memory://nobody', clock), ofAgent);
      const attempt = throughHost(memoryTransport(), ofWorker, clock).connect('memory://nobody', 'w.1.1');
      await expect(attempt).rejects.toThrow(error);
    }
  });

  it('connects by itself if the agent does not answer', async () => {
    const transport = memoryTransport();
    const clock = new TestClock();
    const { server, heard } = await coordinator(transport);
    const { ofWorker } = channels();
    const attempt = throughHost(transport, ofWorker, clock).connect(server.address, 'w.1.1', 2_000);
    await settle();
    clock.advance(7_000);
    (await attempt).send(leave);
    await settle();
    expect(heard.map(({ peer }) => peer)).toEqual(['w.1.1']);
  });
});
