/**
 * Malformed, truncated, huge, replayed and wrongly typed bytes at every socket, from strangers and from peers, while a link pair beside
 * them works: every message of that pair must arrive, once and in order, and nothing else that counts as one.
 */
import { readFileSync } from 'node:fs';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as zmq from 'zeromq';
import { PeerError } from '../../src/base/errors.ts';
import { type ControlClient, type ControlServer, type RingLink, ringHeaderBytes } from '../../src/comm/link.ts';
import { decodeCoordinatorMessage, decodeWorkerMessage } from '../../src/comm/protocol.ts';
import { parseRingAddress } from '../../src/comm/ringAddress.ts';
import { encodeRingHeader } from '../../src/comm/ringFrames.ts';
import { joinKeysOf, newRunKeys, type RunKeys } from '../../src/comm/runKeys.ts';
import { localHostId, UnixSocketReceiver } from '../../src/comm/unixSocketRing.ts';
import { openZapDomain } from '../../src/comm/zmqAuthentication.ts';
import { zmqTransport } from '../../src/comm/zmqLink.ts';
import { curveClient, curveServer } from '../../src/comm/zmqSocket.ts';
import { cut, fillAll, formAll, openMembers, Random } from '../unit/comm/ringHarness.ts';

const cleanups: (() => unknown)[] = [];
afterAll(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function closing<T extends { close(): unknown }>(link: T): T {
  cleanups.push(() => link.close());
  return link;
}

const keys = newRunKeys();
const others = newRunKeys();
const any = 'tcp://127.0.0.1:0';
const runs = { numRuns: 25 };
const packr = new Packr({ useRecords: false });
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const portOf = (address: string) => Number(/:(\d+)(\/|$)/.exec(address)?.[1]);

async function until(condition: () => boolean): Promise<void> {
  for (const endMs = performance.now() + 5_000; !condition() && performance.now() < endMs; ) await pause(1);
  expect(condition()).toBe(true);
}

/** One frame: anything, or a message that is almost one. */
const frame = fc.oneof(
  fc.uint8Array({ maxLength: 100 }),
  fc.constantFrom(new Uint8Array(0), new Uint8Array(1 << 20), Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff)),
  fc.anything({ maxDepth: 2, withTypedArray: true }).map((value) => packed(value)),
  fc
    .record({
      type: fc.constantFrom('join', 'ready', 'reduced', 'stateChunk', 'form', 'commit', 'assign', 'stop', 'heartbeat'),
      term: fc.anything(),
      step: fc.oneof(fc.nat(), fc.double(), fc.constant('1')),
      protocolVersion: fc.integer(),
    })
    .map(packed),
  fc.uint8Array({ minLength: ringHeaderBytes, maxLength: ringHeaderBytes }),
);
const messages = fc.array(fc.array(frame, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 8 });

function packed(value: unknown): Uint8Array {
  try {
    return packr.pack(value);
  } catch {
    return new Uint8Array(3); // not everything can be packed
  }
}

/** What a stranger may send to a port: anything, and things that begin like ZeroMQ does. */
const greeting = (mechanism: string) => {
  const bytes = Buffer.alloc(64);
  bytes.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]);
  bytes.write(mechanism, 12);
  return bytes;
};
const command = (flags: number, size: bigint, body: Uint8Array) => {
  const head = Buffer.alloc(9);
  head[0] = flags;
  head.writeBigUInt64BE(size, 1);
  return Buffer.concat([head, body]);
};
const raw = fc.oneof(
  fc.uint8Array({ maxLength: 500 }),
  fc
    .tuple(fc.constantFrom('CURVE', 'NULL', 'PLAIN', 'XYZ'), fc.nat(64), fc.uint8Array({ maxLength: 300 }))
    .map(([mechanism, cutAt, rest]) => Buffer.concat([greeting(mechanism).subarray(0, cutAt), rest])),
  fc
    .tuple(
      fc.constantFrom('CURVE', 'NULL'),
      fc.nat(255),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.uint8Array({ maxLength: 300 }),
    )
    .map(([mechanism, flags, size, body]) => Buffer.concat([greeting(mechanism), command(flags, size, body)])),
  fc
    .tuple(fc.constantFrom('HELLO', 'INITIATE', 'READY', 'MESSAGE', 'ERROR'), fc.uint8Array({ maxLength: 250 }))
    .map(([name, body]) => {
      const text = Buffer.concat([Buffer.of(name.length), Buffer.from(name), body]).subarray(0, 255);
      return Buffer.concat([greeting('CURVE'), Buffer.of(4, text.length), text]);
    }),
);

function sendRaw(port: number, bytes: Uint8Array): Promise<void> {
  const socket = connectTcp(port, '127.0.0.1');
  return new Promise((resolve) => {
    socket.on('error', () => {}).on('close', () => resolve());
    socket.resume().end(bytes);
    setTimeout(() => socket.destroy(), 20);
  });
}

/** A pair that works, and what must hold of it whatever happens beside it. */
interface Pair {
  /** Sends a few messages and waits until they have arrived. */
  work(): Promise<void>;
}

function controlPair(server: ControlServer, client: ControlClient): Pair & { readonly foreign: Uint8Array[] } {
  const atServer: number[] = [];
  const atClient: number[] = [];
  const foreign: Uint8Array[] = [];
  const number = (message: Uint8Array) => Buffer.from(message).readUInt32LE(0);
  server.onMessage((peer, message, payload) => {
    if (peer !== 'honest') {
      foreign.push(message);
      return;
    }
    atServer.push(number(message));
    server.send(peer, message, payload);
  });
  client.onMessage((message) => atClient.push(number(message)));
  let sent = 0;
  return {
    foreign,
    async work() {
      for (let i = 0; i < 5; i++) {
        const message = Buffer.alloc(4);
        message.writeUInt32LE(sent++);
        client.send(message, i % 2 === 0 ? new Uint8Array(100) : undefined);
      }
      await until(() => atClient.length >= sent);
      const expected = Array.from({ length: sent }, (_, i) => i);
      expect(atServer).toEqual(expected);
      expect(atClient).toEqual(expected);
    },
  };
}

describe('the port of the coordinator', () => {
  let server: ControlServer;
  let pair: ReturnType<typeof controlPair>;
  const log: string[] = [];
  beforeAll(async () => {
    server = closing(await zmqTransport({ keys, log: (line) => log.push(line) }).listen(any));
    pair = controlPair(
      server,
      closing(await zmqTransport({ keys: joinKeysOf(keys) }).connect(server.address, 'honest')),
    );
  });

  it.each<[string, Partial<RunKeys> | undefined]>([
    ['without keys', undefined],
    ['with the keys of another run', others],
    ['with another key for joining', { joinPublicKey: others.joinPublicKey, joinSecretKey: others.joinSecretKey }],
  ])('messages of strangers %s are not heard, and harm nobody', async (_, wrong) => {
    const given = wrong && { ...keys, ...wrong };
    const curve =
      given && curveClient({ publicKey: given.joinPublicKey, secretKey: given.joinSecretKey }, given.serverPublicKey);
    let n = 0;
    await fc.assert(
      fc.asyncProperty(messages, async (sent) => {
        const stranger = new zmq.Dealer({ linger: 0, routingId: `stranger-${n++}`, ...curve });
        stranger.connect(server.address);
        for (const frames of sent) stranger.send(frames).catch(() => undefined);
        await pair.work();
        await pause(5);
        stranger.close();
        expect(pair.foreign).toEqual([]);
      }),
      runs,
    );
    expect(log.filter((line) => line.startsWith('refused')).length).toBeLessThanOrEqual(4);
  });

  it('bytes that are not ZeroMQ, or only begin like it, harm nobody', async () => {
    await fc.assert(
      fc.asyncProperty(raw, async (bytes) => {
        await Promise.all([sendRaw(portOf(server.address), bytes), pair.work()]);
        expect(pair.foreign).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  it('a recorded connection, played again, is not heard', async () => {
    const recorded: Buffer[] = [];
    const proxy = createServer((near) => {
      const far = connectTcp(portOf(server.address), '127.0.0.1');
      near.on('data', (chunk) => recorded.push(chunk));
      for (const socket of [near, far]) socket.on('error', () => {});
      near.pipe(far).pipe(near);
    });
    const port = await new Promise<number>((resolve) => {
      proxy.listen(0, '127.0.0.1', () => resolve((proxy.address() as { port: number }).port));
    });
    cleanups.push(() => proxy.close());
    const heardBefore = pair.foreign.length;
    const client = await zmqTransport({ keys }).connect(`tcp://127.0.0.1:${port}`, 'recorded');
    client.send(Buffer.from('pay me'), Buffer.alloc(1000));
    await until(() => pair.foreign.length > heardBefore);
    await client.close();
    const [{ length: heard }] = [pair.foreign];
    for (let i = 0; i < 5; i++) {
      await sendRaw(portOf(server.address), Buffer.concat(recorded));
      for (const chunk of recorded) await sendRaw(portOf(server.address), chunk);
      await pair.work();
    }
    expect(pair.foreign).toHaveLength(heard);
    pair.foreign.length = 0;
  });

  it('messages of a peer are bounded, and decoded or refused; it cannot speak for another', async () => {
    const curve = curveClient({ publicKey: keys.joinPublicKey, secretKey: keys.joinSecretKey }, keys.serverPublicKey);
    let n = 0;
    await fc.assert(
      fc.asyncProperty(messages, async (sent) => {
        const [peer, thief] = [`peer-${n++}`, 'honest'].map((routingId) => {
          const dealer = new zmq.Dealer({ linger: 0, routingId, ...curve });
          dealer.connect(server.address);
          return dealer;
        }) as [zmq.Dealer, zmq.Dealer];
        const valid = sent.filter(([message, , ...rest]) => (message?.length ?? 0) > 0 && rest.length === 0).length;
        const droppedBefore = server.dropped;
        for (const frames of sent) {
          peer.send(frames).catch(() => undefined);
          thief.send(frames).catch(() => undefined);
        }
        await until(() => pair.foreign.length + server.dropped - droppedBefore >= sent.length);
        await pair.work();
        expect(pair.foreign).toHaveLength(valid);
        for (const message of pair.foreign.splice(0)) {
          try {
            decodeWorkerMessage(message);
          } catch (error) {
            expect(error).toBeInstanceOf(PeerError);
          }
        }
        peer.close();
        thief.close();
      }),
      runs,
    );
  });
});

describe('the socket of a worker', () => {
  it('takes from a bad coordinator what is a message, drops the rest, and the worker beside it works', async () => {
    const good = closing(await zmqTransport({ keys }).listen(any));
    const pair = controlPair(good, closing(await zmqTransport({ keys }).connect(good.address, 'honest')));
    const domain = closing(await openZapDomain({ patienceMs: 0, onRefused: () => {} }));
    domain.allow([keys.joinPublicKey]);
    const own = { publicKey: keys.serverPublicKey, secretKey: keys.serverSecretKey };
    const bad = closing(new zmq.Router({ linger: 0, ...curveServer(own, domain.name) }));
    await bad.bind('tcp://127.0.0.1:*');
    const log: string[] = [];
    const transport = zmqTransport({ keys, log: (line) => log.push(line) });
    const client = closing(await transport.connect(bad.lastEndpoint!, 'victim'));
    const got: Uint8Array[] = [];
    client.onMessage((message) => got.push(message));
    client.send(Buffer.from('hello'));
    await bad.receive();
    await fc.assert(
      fc.asyncProperty(messages, async (sent) => {
        for (const frames of sent) await bad.send(['victim', ...frames]);
        await bad.send(['victim', 'end']);
        await until(() => String(got.at(-1)) === 'end');
        const valid = sent.filter(([message, , ...rest]) => (message?.length ?? 0) > 0 && rest.length === 0).length;
        expect(got).toHaveLength(valid + 1);
        for (const message of got.splice(0)) {
          try {
            decodeCoordinatorMessage(message);
          } catch (error) {
            expect(error).toBeInstanceOf(PeerError);
          }
        }
        await pair.work();
      }),
      runs,
    );
  });
});

async function ringPair(localRing: boolean): Promise<Pair & { readonly links: [RingLink, RingLink] }> {
  const transport = zmqTransport({ keys, localRing });
  const a = closing(await transport.openRing('127.0.0.1'));
  const b = closing(await transport.openRing('127.0.0.1'));
  a.connect(b.address, b.address);
  b.connect(a.address, a.address);
  let sent = 0;
  const got: number[] = [];
  b.onFrame((header, payload) => {
    got.push(Buffer.from(header).readUInt32LE(0));
    expect(payload.length).toBe(1000);
    return undefined;
  });
  return {
    links: [a, b],
    async work() {
      for (let i = 0; i < 5; i++) {
        const header = Buffer.alloc(ringHeaderBytes);
        header.writeUInt32LE(sent++);
        a.send(header, new Uint8Array(1000));
      }
      await until(() => got.length >= sent);
      expect(got).toEqual(Array.from({ length: sent }, (_, i) => i));
    },
  };
}

describe.each([true, false])('the port of the ring, local path: %s', (localRing) => {
  it('hears no stranger, and no member but the previous one', async () => {
    const pair = await ringPair(localRing);
    const {
      tcp: [tcp = ''],
      publicKey,
    } = parseRingAddress(pair.links[1].address);
    const options = [
      {},
      curveClient(zmq.curveKeyPair(), publicKey!),
      curveClient(zmq.curveKeyPair(), others.joinPublicKey),
    ];
    await fc.assert(
      fc.asyncProperty(messages, fc.constantFrom(...options), raw, async (sent, curve, bytes) => {
        const stranger = new zmq.Push({ linger: 0, ...curve });
        stranger.connect(tcp);
        for (const frames of sent) stranger.send(frames).catch(() => undefined);
        await Promise.all([pair.work(), sendRaw(portOf(tcp), bytes)]);
        stranger.close();
      }),
      runs,
    );
  });
});

it('without keys, a ring drops frames that are not its own: sums stay right', async () => {
  const members = await openMembers(2, {}, zmqTransport(), '127.0.0.1');
  for (const { link } of members) closing(link);
  formAll(members, 1);
  const random = new Random(1);
  const buckets = cut(300, 3, random);
  const {
    tcp: [tcp = ''],
  } = parseRingAddress(members[1]!.link.address);
  let step = 0;
  const replayed = (term: number, at: number) =>
    encodeRingHeader({ term, step: at, bucket: 0, phase: 'reduceScatter', segment: 0, chunk: 0, rank: 0 });
  await fc.assert(
    fc.asyncProperty(messages, fc.uint8Array({ maxLength: 64 }), async (sent, payload) => {
      const stranger = new zmq.Push({ linger: 0 });
      stranger.connect(tcp);
      const old = [replayed(0, step), payload];
      const past = step > 0 ? [[replayed(1, step - 1), payload]] : [];
      for (const frames of [...sent, old, ...past]) stranger.send(frames).catch(() => undefined);
      const sums = fillAll(members, 300, random);
      for (const { ring, data } of members) {
        ring.begin({ step, data, buckets });
        for (const i of buckets.keys()) ring.start(i);
      }
      await Promise.all(members.map(({ ring }) => ring.whenDone()));
      for (const { data } of members) for (let i = 0; i < 300; i++) expect(data[i]).toBeCloseTo(sums[i]!, 3);
      step++;
      await pause(5);
      stranger.close();
    }),
    runs,
  );
});

describe.runIf(localHostId())('the local stream', () => {
  const names = () =>
    [...readFileSync('/proc/net/unix', 'utf8').matchAll(/@(lockstep-ring-[0-9a-f]{32})/g)].map(([, name]) => name!);

  it('cannot be joined with only its name', async () => {
    const pair = await ringPair(true);
    const [a, b] = pair.links;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 100 }), { minLength: 1, maxLength: 20 }), async (sent) => {
        b.connect(a.address, a.address);
        a.connect(b.address, b.address); // a new offer
        const strangers: Socket[] = [];
        const watch = setInterval(() => {
          for (const name of names()) {
            const socket = connectTcp({ path: `\0${name}` });
            socket.on('error', () => {}).write(sent[strangers.length % sent.length]!);
            strangers.push(socket);
          }
        }, 0);
        await pair.work();
        clearInterval(watch);
        for (const socket of strangers) socket.destroy();
      }),
      runs,
    );
  });

  it('ends where its bytes are not frames, and takes no memory for what they claim', async () => {
    const proof = Buffer.alloc(32, 7);
    const offer = { name: `lockstep-ring-${'0'.repeat(31)}1`, ticket: Buffer.alloc(32, 1), proof };
    let bytes: Uint8Array = new Uint8Array(0);
    const sender = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(bytes));
    });
    await new Promise<void>((resolve) => sender.listen(`\0${offer.name}`, resolve));
    cleanups.push(() => sender.close());
    const maxMessageBytes = 10_000;
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.array(fc.uint8Array({ maxLength: 5_000 }), { maxLength: 5 }),
        async (known, parts) => {
          bytes = Buffer.concat([...(known ? [proof] : []), ...parts]);
          const got: number[] = [];
          await new Promise<void>((onEnd) => {
            new UnixSocketReceiver({
              offer,
              maxMessageBytes,
              onFrame: (_header, payload) => void got.push(payload.byteLength),
              onEnd: () => onEnd(),
            });
          });
          if (!known) expect(got).toEqual([]);
          for (const size of got) expect(size).toBeLessThanOrEqual(maxMessageBytes);
          expect(got.reduce((sum, size) => sum + size + 32, 32)).toBeLessThanOrEqual(Math.max(32, bytes.byteLength));
        },
      ),
      { numRuns: 100 },
    );
  });
});

it('whatever the bytes, decoding ends with a message or a PeerError', () => {
  fc.assert(
    fc.property(frame, (bytes) => {
      for (const decode of [decodeWorkerMessage, decodeCoordinatorMessage]) {
        try {
          expect(decode(bytes)).toHaveProperty('type');
        } catch (error) {
          expect(error).toBeInstanceOf(PeerError);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});
