/** One suite over both implementations of the links, then what only sockets have. */
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { PeerError, UserError } from '../../../src/base/errors.ts';
import {
  type ControlClient,
  type ControlServer,
  defaultLinkOptions,
  type RingLink,
  ringHeaderBytes,
  type Transport,
} from '../../../src/comm/link.ts';
import {
  addressesFromElsewhere,
  addressFromHere,
  parseTcpAddress,
  UnreachableError,
} from '../../../src/comm/linkAddress.ts';
import { memoryTransport } from '../../../src/comm/memoryLink.ts';
import { newRunKeys } from '../../../src/comm/runKeys.ts';
import { hexOfKey } from '../../../src/comm/z85.ts';
import { connectToOne } from '../../../src/comm/zmqClient.ts';
import { zmqTransport } from '../../../src/comm/zmqLink.ts';
import { configSchema } from '../../../src/config/schema.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function closing<T extends { close(): Promise<void> }>(link: T): T {
  cleanups.push(() => link.close());
  return link;
}

const bytes = (...values: number[]) => Uint8Array.from(values);

/** A ring header that is told from others by its first byte. */
const header = (first: number) => new Uint8Array(ringHeaderBytes).fill(first, 0, 1);

/** Collects what a listener is called with and resolves once there are `count` calls. */
function collector<T>() {
  const items: T[] = [];
  let wake = () => {};
  return {
    items,
    push: (item: T) => {
      items.push(item);
      wake();
    },
    async reach(count: number): Promise<T[]> {
      while (items.length < count) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return items;
    },
  };
}

const keys = newRunKeys();

const kinds: { name: string; any: string; make: (maxMessageBytes?: number) => Transport }[] = [
  { name: 'zmq', any: 'tcp://127.0.0.1:0', make: (maxMessageBytes = 2 ** 28) => zmqTransport({ maxMessageBytes }) },
  {
    name: 'zmq, encrypted',
    any: 'tcp://127.0.0.1:0',
    make: (maxMessageBytes = 2 ** 28) => zmqTransport({ maxMessageBytes, keys }),
  },
  { name: 'memory', any: 'memory://0', make: (maxMessageBytes = 2 ** 28) => memoryTransport({ maxMessageBytes }) },
];

describe.each(kinds)('$name control link', ({ any, make }) => {
  async function pair(maxMessageBytes?: number): Promise<{ server: ControlServer; client: ControlClient }> {
    const transport = make(maxMessageBytes);
    const server = closing(await transport.listen(any));
    const client = closing(await transport.connect(server.address, 'worker-1'));
    return { server, client };
  }

  it('delivers both ways, in order, with and without a payload', async () => {
    const { server, client } = await pair();
    const atServer = collector<[string, number, number | undefined]>();
    const atClient = collector<[number, number | undefined]>();
    server.onMessage((peer, message, payload) => {
      atServer.push([peer, message[0]!, payload?.length]);
      server.send(peer, message, payload);
    });
    client.onMessage((message, payload) => atClient.push([message[0]!, payload?.length]));
    for (let i = 0; i < 200; i++) client.send(bytes(i, 1), i % 3 === 0 ? new Uint8Array(i * 10) : undefined);
    await atClient.reach(200);
    const expected = Array.from({ length: 200 }, (_, i) => [i, i % 3 === 0 ? i * 10 : undefined]);
    expect(atClient.items).toEqual(expected);
    expect(atServer.items).toEqual(expected.map((item) => ['worker-1', ...item]));
    expect(server.dropped).toBe(0);
  });

  it('never delivers during send, and keeps what comes before a listener is set', async () => {
    const { server, client } = await pair();
    const got = collector<number>();
    client.send(bytes(7));
    await new Promise((resolve) => setTimeout(resolve, 20));
    server.onMessage((_peer, message) => got.push(message[0]!));
    client.send(bytes(8));
    expect(got.items).not.toContain(8);
    expect(await got.reach(2)).toEqual([7, 8]);
  });

  it('keeps clients apart', async () => {
    const transport = make();
    const server = closing(await transport.listen(any));
    server.onMessage((peer, message) => server.send(peer, bytes(message[0]! + 100)));
    const clients = await Promise.all(
      [0, 1, 2, 3].map(async (i) => closing(await transport.connect(server.address, `w${i}`))),
    );
    const answers = clients.map((client, i) => {
      const got = collector<number>();
      client.onMessage((message) => got.push(message[0]!));
      client.send(bytes(i));
      return got;
    });
    expect(await Promise.all(answers.map((got) => got.reach(1)))).toEqual([[100], [101], [102], [103]]);
  });

  it('tells the server which client is gone, and the client that the server is', async () => {
    const transport = make();
    const server = closing(await transport.listen(any));
    const heard = collector<string>();
    const gone = collector<string>();
    server.onMessage((peer) => heard.push(peer));
    server.onPeerGone((peer) => gone.push(peer));
    const [a, b] = await Promise.all(
      ['a', 'b'].map(async (id) => closing(await transport.connect(server.address, id))),
    );
    a!.send(bytes(1));
    b!.send(bytes(1));
    await heard.reach(2);
    await a!.close();
    expect(await gone.reach(1)).toEqual(['a']);
    server.send('a', bytes(1));
    expect(await gone.reach(2)).toEqual(['a', 'a']);
    const lost = collector<string>();
    b!.onServerGone((reason) => lost.push(reason));
    await server.close();
    await lost.reach(1);
    expect(gone.items).toEqual(['a', 'a']);
  });

  it('sends what was queued before it closes', async () => {
    const { server, client } = await pair();
    const got = collector<number>();
    server.onMessage((_peer, message) => got.push(message[0]!));
    for (let i = 0; i < 50; i++) client.send(bytes(i), new Uint8Array(10_000));
    await client.close();
    expect(await got.reach(50)).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it('refuses to send above the bound', async () => {
    const { client, server } = await pair(1000);
    server.onMessage(() => {});
    expect(() => client.send(bytes(1), new Uint8Array(1001))).toThrow(PeerError);
    expect(() => server.send('worker-1', new Uint8Array(1001))).toThrow(/1001 bytes is above the limit of 1000/);
  });

  it('refuses an address that is in use, and frees it when it closes', async () => {
    const transport = make();
    const first = closing(await transport.listen(any));
    await expect(transport.listen(first.address)).rejects.toThrow(UserError);
    await expect(transport.listen(first.address)).rejects.toThrow(first.address);
    await first.close();
    closing(await transport.listen(first.address));
  });

  it('refuses malformed addresses and peer ids', async () => {
    const transport = make();
    for (const address of ['', 'tcp://', 'tcp://localhost', '127.0.0.1:1', 'tcp://a b:1', 'tcp://127.0.0.1:70000']) {
      await expect(transport.listen(address), address).rejects.toThrow(UserError);
    }
    const server = closing(await transport.listen(any));
    for (const id of ['', 'a b', 'x'.repeat(65), '\0abc']) {
      await expect(transport.connect(server.address, id), id).rejects.toThrow(UserError);
    }
  });
});

const ringKinds = [
  ...kinds,
  {
    name: 'zmq, TCP only',
    any: 'tcp://127.0.0.1:0',
    make: (maxMessageBytes = 2 ** 28) => zmqTransport({ maxMessageBytes, localRing: false }),
  },
  {
    name: 'zmq, TCP only, encrypted',
    any: 'tcp://127.0.0.1:0',
    make: (maxMessageBytes = 2 ** 28) => zmqTransport({ maxMessageBytes, localRing: false, keys }),
  },
];

describe.each(ringKinds)('$name ring link', ({ any, make }) => {
  async function two(maxMessageBytes?: number): Promise<{ a: RingLink; b: RingLink }> {
    const transport = make(maxMessageBytes);
    const host = any.startsWith('tcp') ? '127.0.0.1' : 'memory';
    const a = closing(await transport.openRing(host));
    const b = closing(await transport.openRing(host));
    a.connect(b.address, b.address);
    b.connect(a.address, a.address);
    return { a, b };
  }

  it('delivers frames in order', async () => {
    const { a, b } = await two();
    const got = collector<[number, number, number]>();
    b.onFrame((head, payload) => {
      got.push([head[0]!, payload.length, payload[0]!]);
      return undefined;
    });
    const reused = header(0);
    for (let i = 0; i < 600; i++) {
      reused[0] = i & 255; // headers are copied: one is enough
      a.send(reused, new Uint8Array(1000 + i).fill(i));
    }
    await got.reach(600);
    expect(got.items).toEqual(Array.from({ length: 600 }, (_, i) => [i & 255, 1000 + i, i & 255]));
  });

  it('holds frames back while the listener waits', async () => {
    const { a, b } = await two();
    const got = collector<number>();
    let release = () => {};
    b.onFrame((head) => {
      got.push(head[0]!);
      if (head[0] !== 1) return undefined;
      return new Promise((resolve) => {
        release = resolve;
      });
    });
    for (let i = 0; i < 4; i++) a.send(header(i), new Uint8Array(8));
    await got.reach(2);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(got.items).toEqual([0, 1]);
    release();
    expect(await got.reach(4)).toEqual([0, 1, 2, 3]);
  });

  it('sends a part of a SharedArrayBuffer, which arrives in memory of its own', async () => {
    const { a, b } = await two();
    const shared = new Float32Array(new SharedArrayBuffer(4096)).map((_, i) => i);
    const got = collector<Uint8Array>();
    b.onFrame((_header, payload) => {
      got.push(new Uint8Array(payload));
      return undefined;
    });
    a.send(header(1), new Uint8Array(shared.buffer, 400, 800));
    const [payload] = await got.reach(1);
    shared.fill(0);
    const values = new Float32Array(payload!.buffer.slice(payload!.byteOffset, payload!.byteOffset + 800));
    expect([...values.subarray(0, 3)]).toEqual([100, 101, 102]);
  });

  it('passes the largest chunk that there may be', async () => {
    const { a, b } = await two();
    const big = randomFillSync(new Uint8Array(2 ** 24));
    expect(configSchema.safeParse({ comm: { bucketBytesMax: 2 ** 28, chunkBytes: 2 ** 24 } }).success).toBe(true);
    expect(configSchema.safeParse({ comm: { bucketBytesMax: 2 ** 28, chunkBytes: 2 ** 24 + 4 } }).success).toBe(false);
    const got = collector<Uint8Array>();
    b.onFrame((_header, payload) => {
      got.push(new Uint8Array(payload));
      return undefined;
    });
    a.send(header(1), big);
    const [payload] = await got.reach(1);
    expect(Buffer.compare(payload!, big)).toBe(0);
  });

  it('tells that the next rank is gone; a new next rank gets only what is sent from then on', async () => {
    const { a, b } = await two();
    const goneAtA = collector<string>();
    a.onNextGone((reason) => goneAtA.push(reason));
    const got = collector<number>();
    b.onFrame((head) => {
      got.push(head[0]!);
      return undefined;
    });
    a.send(header(1), new Uint8Array(8));
    await got.reach(1);
    await b.close();
    await goneAtA.reach(1);
    a.send(header(2), new Uint8Array(8));
    const own = collector<number>();
    a.onFrame((head) => {
      own.push(head[0]!);
      return undefined;
    });
    a.connect(a.address, a.address); // a ring of one
    a.send(header(3), new Uint8Array(8));
    expect(await own.reach(1)).toEqual([3]);
  });

  it('refuses to send above the bound', async () => {
    const { a } = await two(1000);
    expect(() => a.send(header(1), new Uint8Array(1001))).toThrow(PeerError);
  });
});

describe('zmq link', () => {
  it('says that a port is in use by another program, and what to do', async () => {
    const other = createServer();
    const port = await new Promise<number>((resolve) => {
      other.listen(0, '127.0.0.1', () => resolve((other.address() as { port: number }).port));
    });
    cleanups.push(() => new Promise((resolve) => void other.close(() => resolve())));
    await expect(zmqTransport().listen(`tcp://127.0.0.1:${port}`)).rejects.toThrow(
      new RegExp(`Cannot listen on tcp://127.0.0.1:${port}: the port is in use: .*port 0`),
    );
  });

  it("refuses another machine's address and unknown hosts", async () => {
    await expect(zmqTransport().listen('tcp://192.0.2.1:0')).rejects.toThrow(/not an address of this machine/);
    await expect(zmqTransport().listen('tcp://no-such-host.invalid:1')).rejects.toThrow(UserError);
    const unknown = zmqTransport().connect('tcp://no-such-host.invalid:1', 'w');
    await expect(unknown).rejects.toThrow(/is not known here/);
    // Its name may be known with the next attempt.
    await expect(unknown).rejects.toThrow(UnreachableError);
    const run = { coordinatorAddress: 'tcp://no-such-host.invalid:1', isBeside: false };
    await expect(zmqTransport().openRing(undefined, run)).rejects.toThrow(UnreachableError);
    await expect(zmqTransport().connect('tcp://127.0.0.1:0', 'w')).rejects.toThrow(/received 0/);
  });

  it('gives up on a server that does not answer', async () => {
    const silent = createServer((socket) => void socket.resume());
    const port = await new Promise<number>((resolve) => {
      silent.listen(0, '127.0.0.1', () => resolve((silent.address() as { port: number }).port));
    });
    cleanups.push(() => new Promise((resolve) => void silent.close(() => resolve())));
    const transport = zmqTransport({ connectTimeoutMs: 200 });
    await expect(transport.connect(`tcp://127.0.0.1:${port}`, 'w')).rejects.toThrow(/nobody answers at/);
  });

  it('closes the connection of a peer that sends a frame above the bound, and stays up for others', async () => {
    const server = closing(await zmqTransport({ maxMessageBytes: 10_000 }).listen('tcp://127.0.0.1:0'));
    const got = collector<number>();
    const gone = collector<string>();
    server.onMessage((_peer, message) => got.push(message.length));
    server.onPeerGone((peer) => gone.push(peer));
    const rude = closing(await zmqTransport().connect(server.address, 'rude'));
    rude.send(new Uint8Array(5));
    await got.reach(1);
    rude.send(new Uint8Array(10_001));
    expect(await gone.reach(1)).toEqual(['rude']);
    const polite = closing(await zmqTransport().connect(server.address, 'polite'));
    polite.send(new Uint8Array(6));
    expect(await got.reach(2)).toEqual([5, 6]);
  });

  it('has a bound of its own for what clients send, which holds for strangers too', async () => {
    const server = closing(await zmqTransport().listen('tcp://127.0.0.1:0'));
    const client = closing(await zmqTransport().connect(server.address, 'w'));
    expect(() => client.send(bytes(1), new Uint8Array(8 * 2 ** 20 + 1))).toThrow(/above the limit of 8388608/);
    const got = collector<number>();
    server.onMessage((_peer, _message, payload) => {
      got.push(payload?.length ?? 0);
      server.send('w', bytes(2), new Uint8Array(9 * 2 ** 20));
    });
    const answered = collector<number>();
    client.onMessage((_message, payload) => answered.push(payload?.length ?? 0));
    client.send(bytes(1), new Uint8Array(8 * 2 ** 20));
    expect(await got.reach(1)).toEqual([8 * 2 ** 20]);
    expect(await answered.reach(1)).toEqual([9 * 2 ** 20]);
  });

  it.each(['tcp://0.0.0.0:0', 'tcp://*:0'])(
    'binds to every interface, where this machine reaches it: %s',
    async (any) => {
      const server = closing(await zmqTransport().listen(any));
      closing(await zmqTransport().connect(addressFromHere(server.address), 'w'));
      for (const address of addressesFromElsewhere(server.address)) {
        closing(await zmqTransport().connect(address, `w-${cleanups.length}`));
      }
    },
  );

  it('tries every address of a name in turn, as the coordinator may listen on one of them', async () => {
    const server = closing(await zmqTransport().listen('tcp://[::1]:0'));
    const { port } = parseTcpAddress(server.address);
    const targets = [`tcp://127.0.0.1:${port}`, server.address];
    const given = { peerId: 'w', keys: undefined, options: { ...defaultLinkOptions, connectTimeoutMs: 15_000 } };
    const client = closing(await connectToOne(targets, 'tcp://both.example:1', given));
    const got = collector<string>();
    server.onMessage((peer) => got.push(peer));
    client.send(bytes(1));
    expect(await got.reach(1)).toEqual(['w']);
    await server.close();
    const late = connectToOne(targets, 'tcp://both.example:1', {
      ...given,
      options: { ...given.options, connectTimeoutMs: 700 },
    });
    await expect(late).rejects.toThrow(/^nobody answers at tcp:\/\/both\.example:1: is/);
  });

  describe.each([
    ['plain', undefined],
    ['encrypted', keys],
  ])('ring ends with several addresses: %s', (_, given) => {
    const transport = zmqTransport({ keys: given, localRing: false });

    /** Two ends, the second of which says that it can be reached at these addresses, and then at its own. */
    async function ends(...before: readonly string[]) {
      const [a, b] = [closing(await transport.openRing('127.0.0.1')), closing(await transport.openRing('127.0.0.1'))];
      b.connect(a.address, a.address);
      const got = collector<number>();
      b.onFrame((bytes) => {
        got.push(bytes[0]!);
        return undefined;
      });
      const gone = collector<string>();
      a.onNextGone((reason) => gone.push(reason));
      return { a, b, got, gone, address: [...before, b.address].join(',') };
    }

    it('takes the first that the next rank answers at, and sends there what was sent before', async () => {
      // Nobody listens on the first; on the second somebody who never answers.
      const silent = createServer().listen(0, '127.0.0.1');
      cleanups.push(async () => void silent.close());
      await once(silent, 'listening');
      const { port } = silent.address() as AddressInfo;
      const { a, b, got, gone, address } = await ends('tcp://127.0.0.1:9', `tcp://127.0.0.1:${port}`);
      a.connect(address, b.address);
      for (let i = 1; i <= 3; i++) a.send(header(i), new Uint8Array(10));
      expect(await got.reach(3)).toEqual([1, 2, 3]);
      expect(a.unreached).toBeUndefined();
      expect(gone.items).toEqual([]);
      await b.close();
      expect(await gone.reach(1)).toEqual(['its connection is closed']);
      expect(a.unreached).toBeUndefined();
    });

    it('says where the next rank was not reached, until it is given another', async () => {
      const { a, b, got, gone } = await ends();
      const suffix = b.address.replace(/^[^/]+\/\/[^/]+/, '');
      a.connect(`tcp://127.0.0.1:9,tcp://[::1]:9${suffix}`, b.address, 100);
      const where = /tcp:\/\/127\.0\.0\.1:9 \(connection refused, or no route\), tcp:\/\/\[::1\]:9 \(/;
      expect((await gone.reach(1))[0]).toMatch(/^it cannot be reached at tcp:/);
      expect(a.unreached).toMatch(where);
      a.connect(b.address, b.address);
      a.send(header(7), new Uint8Array(1));
      expect(await got.reach(1)).toEqual([7]);
      expect(a.unreached).toBeUndefined();
    });
  });

  it("a worker of the coordinator's machine is reached where the coordinator is", async () => {
    const transport = zmqTransport({ keys, localRing: false });
    const beside = { coordinatorAddress: 'tcp://127.0.0.1:1', isBeside: true };
    const other = { coordinatorAddress: 'tcp://localhost:1', isBeside: false };
    const b = closing(await transport.openRing('0.0.0.0', beside));
    const a = closing(await transport.openRing(undefined, other));
    expect(b.address).toMatch(/^tcp:\/\/\*:\d+,/);
    expect(a.address).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+[,/]/);
    b.connect(a.address, a.address);
    const [, port = ''] = /:(\d+)/.exec(b.address) ?? [];
    const [, key = ''] = /\/\/([0-9a-f]{64})$/.exec(b.address) ?? [];
    a.connect(`tcp://*:${port}//${key}`, b.address);
    const got = collector<number>();
    b.onFrame((bytes) => {
      got.push(bytes[0]!);
      return undefined;
    });
    a.send(header(5), new Uint8Array(1));
    expect(await got.reach(1)).toEqual([5]);
  });

  it.each([
    ['plain', undefined],
    ['encrypted', keys],
  ])('leaves no descriptor open after 200 cycles with messages that were never sent: %s', async (_, given) => {
    const descriptors = () => readdirSync('/proc/self/fd').length;
    const transport = zmqTransport({ keys: given });
    const nobody = `tcp://127.0.0.1:9${given ? `//${hexOfKey(given.joinPublicKey)}` : ''}`;
    const cycle = async () => {
      const server = await transport.listen('tcp://127.0.0.1:0');
      const client = await transport.connect(server.address, 'w');
      const ring = await transport.openRing('127.0.0.1');
      server.onMessage(() => {});
      client.send(bytes(1), new Uint8Array(100_000));
      ring.connect(nobody, ring.address); // what is sent stays queued
      ring.send(header(1), new Uint8Array(100_000));
      await Promise.all([client.close(), ring.close(), server.close()]);
    };
    await cycle();
    const before = descriptors();
    for (let i = 0; i < 200; i++) await cycle();
    // ZeroMQ's threads close the last few in their own time.
    for (let i = 0; i < 40 && descriptors() > before; i++) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(descriptors()).toBeLessThanOrEqual(before);
  });
});
