/** The local stream of the ring, from the point of view of another user of the machine, who can read the names of sockets. */
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ringHeaderBytes } from '../../../src/comm/link.ts';
import {
  localHostId,
  parseOffer,
  type UnixSocketOffer,
  UnixSocketReceiver,
  UnixSocketSender,
} from '../../../src/comm/unixSocketRing.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function offered() {
  const seen = { strangers: 0, connected: false, gone: '' };
  let sender!: UnixSocketSender;
  await new Promise<void>((resolve) => {
    sender = new UnixSocketSender({
      listening: resolve,
      connected: () => {
        seen.connected = true;
      },
      stranger: () => seen.strangers++,
      gone: (reason) => {
        seen.gone = reason;
      },
    });
  });
  cleanups.push(() => sender.close());
  return { sender, offer: parseOffer(sender.offer)!, seen };
}

/** Resolves with what it was told before it was closed. */
function stranger(name: string, bytes?: Uint8Array): { socket: Socket; closed: Promise<Buffer> } {
  const socket = connect(`\0${name}`);
  cleanups.push(() => socket.destroy());
  if (bytes) socket.write(bytes);
  const got: Buffer[] = [];
  socket.on('data', (chunk) => got.push(chunk)).on('error', () => {});
  return { socket, closed: new Promise((resolve) => socket.on('close', () => resolve(Buffer.concat(got)))) };
}

function receive(offer: UnixSocketOffer) {
  const got: number[] = [];
  let ended!: (reason: string | undefined) => void;
  const end = new Promise<string | undefined>((resolve) => {
    ended = resolve;
  });
  const receiver = new UnixSocketReceiver({
    offer,
    maxMessageBytes: 1000,
    onFrame: (header) => void got.push(header[0]!),
    onEnd: ended,
  });
  cleanups.push(() => receiver.close());
  return { got, end };
}

const header = (first: number) => new Uint8Array(ringHeaderBytes).fill(first, 0, 1);

async function expectDelivery(sender: UnixSocketSender, offer: UnixSocketOffer, seen: { connected: boolean }) {
  const { got } = receive(offer);
  for (let i = 0; i < 200 && !seen.connected; i++) await pause(5);
  expect(seen.connected).toBe(true);
  for (const first of [1, 2, 3]) sender.send(header(first), new Uint8Array(10));
  for (let i = 0; i < 200 && got.length < 3; i++) await pause(5);
  expect(got).toEqual([1, 2, 3]);
}

describe.runIf(localHostId())('local stream', () => {
  it('drops who does not have the ticket, tells it nothing, and the offer stands', async () => {
    const { sender, offer, seen } = await offered();
    const wrong = Buffer.from(offer.ticket);
    wrong[31]! ^= 1;
    for (const bytes of [wrong, offer.proof, Buffer.concat([offer.ticket, Buffer.alloc(1)]), Buffer.alloc(1 << 20)]) {
      const { closed } = stranger(offer.name, bytes);
      expect(await closed).toHaveLength(0);
    }
    expect(seen).toMatchObject({ strangers: 4, connected: false });
    await expectDelivery(sender, offer, seen);
  });

  it('keeps a few strangers that say nothing, for a second; they do not keep the receiver out', async () => {
    const { sender, offer, seen } = await offered();
    const strangers = Array.from({ length: 30 }, () => stranger(offer.name));
    const closed = new Set<number>();
    for (const [i, { closed: end }] of strangers.entries()) void end.then(() => closed.add(i));
    for (let i = 0; i < 100 && closed.size < 22; i++) await pause(5);
    expect(closed.size).toBe(22);
    const startMs = performance.now();
    await Promise.all(strangers.map(({ closed: end }) => end));
    expect(performance.now() - startMs).toBeLessThan(2_000);
    void Array.from({ length: 7 }, () => stranger(offer.name));
    await expectDelivery(sender, offer, seen);
  });

  it('takes the ticket once', async () => {
    const { sender, offer, seen } = await offered();
    await expectDelivery(sender, offer, seen);
    expect(await stranger(offer.name, offer.ticket).closed).toHaveLength(0);
    sender.send(header(4), new Uint8Array(10));
    expect(seen.gone).toBe('');
  });

  it('takes no frame from a process that has only taken over the name', async () => {
    const { sender, offer } = await offered();
    sender.close();
    await pause(20);
    const shown: Buffer[] = [];
    const impostor = createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', (chunk) => shown.push(chunk));
      const frame = Buffer.alloc(4 + ringHeaderBytes);
      socket.write(Buffer.concat([Buffer.alloc(32), frame, frame]));
    });
    await new Promise<void>((resolve) => impostor.listen(`\0${offer.name}`, resolve));
    cleanups.push(() => impostor.close());
    const { got, end } = receive(offer);
    expect(await end).toMatch(/not from who offered it/);
    expect(got).toEqual([]);
  });

  it('reads no offer in other messages', () => {
    for (const text of ['', 'lockstep-ring-', `lockstep-ring-${'0'.repeat(32)}`, 'x'.repeat(10_000)]) {
      expect(parseOffer(Buffer.from(text))).toBeUndefined();
    }
  });
});
