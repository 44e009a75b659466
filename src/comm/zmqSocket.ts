/**
 * What the control and ring sockets share over zeromq.js: binding with errors a user can act on, a receive loop, a monitor
 * loop, bounded closing. Sockets are for main threads only: opened in worker threads they corrupt the heap at exit
 * (zeromq.js 6.8.0).
 */
import * as zmq from 'zeromq';
import { errorCode, messageOf, PeerError, UserError } from '../base/errors.ts';
import { formatTcpAddress, listeningHost, parseTcpAddress, resolveHosts } from './linkAddress.ts';

/** How long a closed socket may continue to send queued messages. */
const lingerMs = 1000;

// Without this the process would wait at exit for as long as a peer does not read.
zmq.context.blocky = false;

/** Options of every socket: the bound on what a peer can make us allocate, and prompt notice of a host that went away. */
export function commonOptions(maxMessageBytes: number) {
  return {
    maxMessageSize: maxMessageBytes,
    linger: 0,
    ipv6: false,
    tcpKeepalive: 1,
    tcpKeepaliveIdle: 30,
    tcpKeepaliveInterval: 10,
    tcpKeepaliveCount: 3,
  };
}

/**
 * Messages queued for a peer that does not read, before it counts as gone. Control traffic is a few messages a step, so a
 * queue this long means a stuck peer; without a bound it would grow until the memory is full.
 */
export const queuedMessagesMax = 4096;

/**
 * The largest message of a client, which is also what a stranger can make the coordinator allocate before ZeroMQ knows that it
 * is one. Workers send messages and chunks of state, of 4 MiB at most each (`protocol.ts`).
 */
export function clientMessageBytes(maxMessageBytes: number): number {
  return Math.min(maxMessageBytes, 8 * 2 ** 20);
}

/** Likewise of the previous rank: a chunk, as long as `comm.chunkBytes` may be, and a little for what encryption adds. */
export function ringMessageBytes(maxMessageBytes: number): number {
  return Math.min(maxMessageBytes, 16 * 2 ** 20 + 1_024);
}

/** @throws PeerError if one of the frames is too large */
export function checkSize(maxMessageBytes: number, frames: readonly Uint8Array[]): void {
  for (const frame of frames) {
    if (frame.byteLength > maxMessageBytes) {
      throw new PeerError(`a message of ${frame.byteLength} bytes is above the limit of ${maxMessageBytes}.`);
    }
  }
}

/** A CURVE key pair, in Z85. */
export interface KeyPair {
  readonly publicKey: string;
  readonly secretKey: string;
}

/** A socket that only speaks with clients that know its public key, and that `zapDomain` (`zmqAuthentication.ts`) lets in. */
export function curveServer({ publicKey, secretKey }: KeyPair, zapDomain: string) {
  return {
    curveServer: true,
    curvePublicKey: publicKey,
    curveSecretKey: secretKey,
    zapDomain,
    // Nobody gets in while no handler runs.
    zapEnforceDomain: true,
  };
}

/** A socket that only speaks with the holder of `serverKey`, and shows it its own key. */
export function curveClient({ publicKey, secretKey }: KeyPair, serverKey: string) {
  return { curveServerKey: serverKey, curvePublicKey: publicKey, curveSecretKey: secretKey };
}

/** Binds, and returns the address that the socket is bound to: with the port that the system chose, and perhaps every interface. */
export async function bindTcp(socket: zmq.Socket, address: string): Promise<string> {
  const wanted = parseTcpAddress(address);
  const host = await listeningHost(wanted.host);
  // On `::`, connections by IPv4 are accepted too.
  if (host.includes(':')) socket.ipv6 = true;
  try {
    await socket.bind(formatTcpAddress({ host, port: wanted.port }).replace(/:0$/, ':*'));
  } catch (error) {
    throw new UserError(bindFailure(address, error), { cause: error });
  }
  const { port } = parseTcpAddress(socket.lastEndpoint ?? address);
  return formatTcpAddress({ host, port });
}

function bindFailure(address: string, error: unknown): string {
  const reason = {
    EADDRINUSE: 'the port is in use: stop the program that uses it, choose another, or write port 0 for any free one',
    EACCES: 'ports below 1024 need privileges: choose another, or write port 0 for any free one',
    EADDRNOTAVAIL: 'it is not an address of this machine: write one of its own, or tcp://0.0.0.0:PORT for all of them',
    ENODEV: 'it is not an address of this machine: write one of its own, or tcp://0.0.0.0:PORT for all of them',
  }[errorCode(error)];
  return `Cannot listen on ${address}: ${reason ?? messageOf(error)}.`;
}

/** The addresses as zeromq.js wants them: one, or those that the name has. */
export async function connectable(address: string): Promise<string[]> {
  const { host, port } = parseTcpAddress(address);
  if (port === 0) throw new UserError(`expected the port that the other end listens on in "${address}", received 0.`);
  return (await resolveHosts(host)).map((found) => formatTcpAddress({ host: found, port }));
}

/** Hands every message to `deliver`, one after the other, until the socket is closed. A promise it returns is waited for. */
export async function receiveLoop(
  socket: zmq.Socket & zmq.Readable,
  deliver: (frames: Buffer[]) => Promise<void> | undefined,
): Promise<void> {
  while (!socket.closed) {
    let frames: Buffer[];
    try {
      frames = await socket.receive();
    } catch (error) {
      if (socket.closed) return;
      throw error;
    }
    if (socket.closed) return;
    const waiting = deliver(frames);
    if (waiting) await waiting;
  }
}

/** Hands the socket's connection events to `deliver` until it is closed. */
export async function monitorLoop(socket: zmq.Socket, deliver: (event: zmq.Event) => void): Promise<void> {
  const events = socket.events;
  while (!events.closed) {
    let event: zmq.Event | undefined;
    try {
      event = await events.receive();
    } catch (error) {
      if (events.closed || socket.closed) return;
      throw error;
    }
    if (event === undefined || event.type === 'end') return;
    deliver(event);
  }
}

/**
 * Closes a socket that has a monitor, and waits until ZeroMQ's own thread is done with it: what was queued is sent, or the
 * linger time is over, and the address is free again. A later `process.exit` then loses nothing.
 */
export async function closeGently(socket: zmq.Socket, monitor: Promise<void>): Promise<void> {
  socket.linger = lingerMs;
  socket.close();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, 2 * lingerMs);
  });
  await Promise.race([monitor, late]);
  clearTimeout(timer);
}
