/** Who may speak with whom in an encrypted run, and what the others are told. */
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import * as zmq from 'zeromq';
import { PeerError, UserError } from '../../../src/base/errors.ts';
import { type RingLink, ringHeaderBytes } from '../../../src/comm/link.ts';
import { parseRingAddress } from '../../../src/comm/ringAddress.ts';
import { joinKeysOf, newRunKeys } from '../../../src/comm/runKeys.ts';
import { openZapDomain, type ZapDomain } from '../../../src/comm/zmqAuthentication.ts';
import { zmqTransport } from '../../../src/comm/zmqLink.ts';
import { curveClient, curveServer } from '../../../src/comm/zmqSocket.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function closing<T extends { close(): unknown }>(link: T): T {
  cleanups.push(() => link.close());
  return link;
}

const any = 'tcp://127.0.0.1:0';
const keys = newRunKeys();
const others = newRunKeys();
const bytes = (...values: number[]) => Uint8Array.from(values);
const header = (first: number) => new Uint8Array(ringHeaderBytes).fill(first, 0, 1);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition: () => boolean, timeoutMs = 5_000): Promise<void> {
  for (const endMs = performance.now() + timeoutMs; !condition() && performance.now() < endMs; ) await pause(5);
  expect(condition()).toBe(true);
}

async function openServer({ keys: given }: { keys?: typeof keys } = { keys }) {
  const log: string[] = [];
  const heard: [string, number][] = [];
  const server = closing(await zmqTransport({ keys: given, log: (message) => log.push(message) }).listen(any));
  server.onMessage((peer, message) => heard.push([peer, message[0]!]));
  return { server, log, heard };
}

async function failureOf(promise: Promise<unknown>): Promise<{ error: unknown; ms: number }> {
  const startMs = performance.now();
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { error, ms: performance.now() - startMs };
}

describe('the control link of an encrypted run', () => {
  it.each([
    ['another key for joining', { ...keys, joinPublicKey: others.joinPublicKey, joinSecretKey: others.joinSecretKey }],
    ['the keys of another run', others],
  ])('says at once that it does not know a client with %s; the others are heard', async (_, wrong) => {
    const { server, log, heard } = await openServer();
    for (let i = 0; i < 3; i++) {
      const { error, ms } = await failureOf(zmqTransport({ keys: joinKeysOf(wrong) }).connect(server.address, 'w'));
      expect(error).toBeInstanceOf(UserError);
      expect(String(error)).toMatch(`the coordinator at ${server.address} does not know this key`);
      expect(ms).toBeLessThan(3_000);
    }
    const client = closing(await zmqTransport({ keys: joinKeysOf(keys) }).connect(server.address, 'w'));
    client.send(bytes(1));
    await until(() => heard.length > 0);
    expect(heard).toEqual([['w', 1]]);
    expect(server.dropped).toBeGreaterThanOrEqual(3);
    expect(log.filter((line) => line.startsWith('refused a connection'))).toHaveLength(1);
  });

  it('tells a client without a key that it needs one, and a client with a key that the server takes none', async () => {
    const encrypted = await openServer();
    const plain = await openServer({});
    const without = await failureOf(zmqTransport().connect(encrypted.server.address, 'w'));
    expect(without.error).toBeInstanceOf(UserError);
    expect(String(without.error)).toMatch(
      /expects the key of its run: name the join\.key .* with --key, .* LOCKSTEP_JOIN_KEY/,
    );
    const needless = await failureOf(zmqTransport({ keys }).connect(plain.server.address, 'w'));
    expect(needless.error).toBeInstanceOf(UserError);
    expect(String(needless.error)).toMatch(/does not encrypt, and a key was given/);
    expect(without.ms + needless.ms).toBeLessThan(3_000);
    // The server may hear of it after the client.
    for (const { log } of [encrypted, plain]) {
      await until(() => log.length > 0);
      expect(log).toEqual([expect.stringContaining('one side encrypts')]);
    }
  });

  it('hears nothing of a stranger that speaks before it is known', async () => {
    const { server, heard } = await openServer();
    const pair = zmq.curveKeyPair();
    const strangers: Partial<zmq.Dealer>[] = [
      {},
      { plainUsername: 'a', plainPassword: 'b' },
      curveClient(pair, keys.serverPublicKey),
      curveClient({ publicKey: keys.joinPublicKey, secretKey: keys.joinSecretKey }, others.serverPublicKey),
    ];
    for (const [i, options] of strangers.entries()) {
      const dealer = closing(new zmq.Dealer({ routingId: `stranger-${i}`, linger: 0, ...options } as object));
      dealer.connect(server.address);
      for (let n = 0; n < 20; n++) dealer.send('hello').catch(() => undefined);
    }
    await until(() => server.dropped >= strangers.length);
    await pause(200);
    expect(heard).toEqual([]);
  });

  it('says that what answers is not a coordinator', async () => {
    const web = createServer((socket) => {
      socket.on('error', () => {});
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'.padEnd(200));
    });
    const port = await new Promise<number>((resolve) => {
      web.listen(0, '127.0.0.1', () => resolve((web.address() as { port: number }).port));
    });
    cleanups.push(() => web.close());
    const { error } = await failureOf(zmqTransport({ keys }).connect(`tcp://127.0.0.1:${port}`, 'w'));
    expect(error).toBeInstanceOf(PeerError);
    expect(String(error)).toMatch(/is not a coordinator/);
  });

  it('cannot be opened with the keys for joining', async () => {
    await expect(zmqTransport({ keys: joinKeysOf(keys) }).listen(any)).rejects.toThrow(/expected .*run\.key/);
    await expect(zmqTransport({ keys: joinKeysOf(keys) }).listen(any)).rejects.toThrow(UserError);
  });

  it('shows nothing of a message to who listens on the wire', async () => {
    const secret = 'the quick brown fox jumps over the lazy dog'.repeat(20);
    const onWire = async (given: { keys?: typeof keys }) => {
      const { server, heard } = await openServer(given);
      const passed: Buffer[] = [];
      const proxy = createServer((near) => {
        const far = connectTcp(Number(server.address.split(':')[2]), '127.0.0.1');
        const join = (from: Socket, to: Socket) => {
          from.on('data', (chunk) => {
            passed.push(chunk);
            to.write(chunk);
          });
          from.on('error', () => {}).on('close', () => to.destroy());
        };
        join(near, far);
        join(far, near);
      });
      const port = await new Promise<number>((resolve) => {
        proxy.listen(0, '127.0.0.1', () => resolve((proxy.address() as { port: number }).port));
      });
      cleanups.push(() => proxy.close());
      const client = closing(await zmqTransport(given).connect(`tcp://127.0.0.1:${port}`, 'worker-with-a-name'));
      client.send(Buffer.from(secret), Buffer.from(secret));
      await until(() => heard.length > 0);
      return Buffer.concat(passed).toString('latin1');
    };
    const plain = await onWire({});
    expect(plain).toContain(secret);
    expect(plain).toContain('worker-with-a-name');
    const encrypted = await onWire({ keys });
    expect(encrypted).not.toContain('quick brown');
    expect(encrypted).not.toContain('worker-with-a-name');
    expect(encrypted).not.toContain(Buffer.from(keys.token).toString('latin1'));
  });

  it('holds a stranger to the bound of a message before it knows it', async () => {
    const { server } = await openServer();
    const socket = connectTcp(Number(server.address.split(':')[2]), '127.0.0.1');
    cleanups.push(() => socket.destroy());
    const closed = new Promise<void>((resolve) =>
      socket
        .resume()
        .on('error', () => {})
        .on('close', () => resolve()),
    );
    const greeting = Buffer.alloc(64);
    greeting.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]);
    greeting.write('CURVE', 12);
    const command = Buffer.alloc(9);
    command[0] = 0x06; // a command with a length of 8 bytes
    command.writeBigUInt64BE(9n * 2n ** 20n, 1);
    socket.write(Buffer.concat([greeting, command]));
    const startMs = performance.now();
    await closed;
    expect(performance.now() - startMs).toBeLessThan(2_000);
  });
});

describe.each([true, false])('the ring of an encrypted run, local path: %s', (localRing) => {
  async function ranks(count: number) {
    const logs: string[] = [];
    const transport = zmqTransport({ keys: joinKeysOf(keys), localRing, log: (message) => logs.push(message) });
    const links: RingLink[] = [];
    for (let i = 0; i < count; i++) links.push(closing(await transport.openRing('127.0.0.1')));
    const heard = links.map((link) => {
      const got: number[] = [];
      link.onFrame((head) => void got.push(head[0]!));
      return got;
    });
    return { links, heard, logs };
  }

  it('lets a previous rank in that is ahead of it, as soon as it has heard of it', async () => {
    const { links, heard } = await ranks(2);
    const [a, b] = links as [RingLink, RingLink];
    const gone: string[] = [];
    a.onNextGone((reason) => gone.push(reason));
    a.connect(b.address, b.address);
    a.send(header(1), bytes(1));
    await pause(300);
    expect(heard[1]).toEqual([]);
    b.connect(a.address, a.address);
    await until(() => heard[1]!.length > 0, 1_000);
    expect(gone).toEqual([]);
  });

  it('hears nobody but the previous rank, other members of the run neither', async () => {
    const { links, heard } = await ranks(3);
    const [a, b, intruder] = links as [RingLink, RingLink, RingLink];
    a.connect(b.address, intruder.address);
    b.connect(intruder.address, a.address); // the next rank is not let in either
    intruder.connect(b.address, b.address);
    const {
      tcp: [tcp = ''],
      publicKey,
    } = parseRingAddress(b.address);
    const pushes = [
      {},
      curveClient(zmq.curveKeyPair(), publicKey!),
      curveClient(zmq.curveKeyPair(), others.joinPublicKey),
    ];
    for (const options of pushes) {
      const push = closing(new zmq.Push({ linger: 0, ...options }));
      push.connect(tcp);
      push.send([header(66), bytes(1)]).catch(() => undefined);
    }
    intruder.send(header(66), bytes(1));
    for (const first of [1, 2, 3]) a.send(header(first), bytes(1));
    await until(() => heard[1]!.length >= 3);
    await pause(300);
    expect(heard[1]).toEqual([1, 2, 3]);
    // Where the ring changes, the rank that was kept waiting is let in, and the one before it is known no more.
    b.connect(a.address, intruder.address);
    await until(() => heard[1]!.includes(66));
  });

  it('sends nothing to a program that has only the address of the next rank', async () => {
    const { links } = await ranks(1);
    const [a] = links as [RingLink];
    const impostor = closing(new zmq.Pull({ linger: 0, receiveTimeout: 500 }));
    const own = zmq.curveKeyPair();
    const domain = closing(await openZapDomain({ patienceMs: 0, onRefused: () => {} }));
    Object.assign(impostor, curveServer(own, domain.name));
    domain.allow([parseRingAddress(a.address).publicKey!]);
    await impostor.bind('tcp://127.0.0.1:*');
    const gone = new Promise<string>((resolve) => a.onNextGone(resolve));
    const key = parseRingAddress(a.address).publicKey!;
    a.connect(a.address.replace(parseRingAddress(a.address).tcp[0]!, impostor.lastEndpoint!), a.address);
    expect(key).not.toBe(own.publicKey);
    a.send(header(1), bytes(1));
    await expect(impostor.receive()).rejects.toThrow();
    expect(await gone).toMatch(/connection is closed|handshake/);
  });

  it('refuses addresses without keys', async () => {
    const { links } = await ranks(2);
    const [a, b] = links as [RingLink, RingLink];
    const {
      tcp: [tcp = ''],
    } = parseRingAddress(b.address);
    expect(() => a.connect(tcp, b.address)).toThrow(PeerError);
    expect(() => a.connect(b.address, tcp)).toThrow(/expected ring addresses with keys/);
    expect(() => a.connect('nonsense', b.address)).toThrow(/expected a ring address like/);
  });
});

describe('the ZAP handler', () => {
  async function open(patienceMs: number): Promise<{ domain: ZapDomain; refused: string[]; pull: zmq.Pull }> {
    const refused: string[] = [];
    const domain = closing(await openZapDomain({ patienceMs, onRefused: (from) => refused.push(from) }));
    const pull = closing(
      new zmq.Pull({
        linger: 0,
        receiveTimeout: 1_000,
        ...curveServer({ publicKey: keys.serverPublicKey, secretKey: keys.serverSecretKey }, domain.name),
      }),
    );
    await pull.bind('tcp://127.0.0.1:*');
    return { domain, refused, pull };
  }

  function push(pull: zmq.Pull) {
    const pair = zmq.curveKeyPair();
    const socket = closing(new zmq.Push({ linger: 0, ...curveClient(pair, keys.serverPublicKey) }));
    const events: string[] = [];
    const monitor = socket.events;
    void (async () => {
      for (;;) {
        const event = await monitor.receive().catch(() => undefined);
        if (event === undefined || event.type === 'end') return;
        events.push(event.type);
      }
    })();
    socket.connect(pull.lastEndpoint!);
    socket.send('hello').catch(() => undefined);
    return { pair, events };
  }

  it('lets in who is on the list of the domain, and on no other', async () => {
    const { domain, pull } = await open(2_000);
    const second = await open(2_000);
    const client = push(pull);
    second.domain.allow([client.pair.publicKey]);
    await pause(200);
    expect(client.events).not.toContain('handshake');
    domain.allow([client.pair.publicKey]);
    expect(String(await pull.receive())).toBe('hello');
  });

  it('refuses who is not, after its patience', async () => {
    const { refused, pull } = await open(200);
    const client = push(pull);
    await pause(100);
    expect(refused).toEqual([]);
    await until(() => client.events.includes('handshake:error:auth'));
    expect(refused).toEqual(['127.0.0.1']);
    await expect(pull.receive()).rejects.toThrow();
  });

  it('keeps a bounded number waiting', async () => {
    const { domain, refused, pull } = await open(20_000);
    const first = push(pull);
    await pause(100);
    const rest = Array.from({ length: 20 }, () => push(pull));
    await until(() => refused.length === 5);
    await until(() => first.events.includes('handshake:error:auth'));
    domain.allow([rest.at(-1)!.pair.publicKey]);
    expect(String(await pull.receive())).toBe('hello');
  });

  it('refuses everybody once the domain is closed, and with it the handler', async () => {
    const { domain, pull } = await open(0);
    const others = await open(0);
    domain.allow([]);
    domain.close();
    const client = push(pull);
    domain.allow([client.pair.publicKey]);
    await until(() => client.events.includes('handshake:error:auth'));
    others.domain.close();
    await pause(50);
    const late = push(pull);
    await until(() => late.events.includes('disconnect'));
    expect(late.events).not.toContain('handshake');
  });

  it('starts again as often as it is needed, and domains may come while it stops', async () => {
    for (let i = 0; i < 30; i++) {
      const { domain, pull } = await open(0);
      const client = push(pull);
      domain.allow([client.pair.publicKey]);
      if (i % 3 === 0) expect(String(await pull.receive())).toBe('hello');
      pull.close();
      domain.close();
      if (i % 2 === 0) await pause(5);
    }
  });
});
