/**
 * The links of `link.ts` over ZeroMQ on TCP: ROUTER (coordinator) and DEALER (worker) for control. The ring's sockets are in
 * `zmqLinkRing.ts`. For main threads only, see `zmqSocket.ts`.
 *
 * ```
 *  control message, either way:  [ message ] or [ message | payload ]     (ROUTER adds and takes the peer's id in front)
 *  probe, server to client:      [ (empty) ]                              (the client ignores it)
 * ```
 */
import * as zmq from 'zeromq';
import { errorCode, InvariantError, messageOf, PeerError, UserError } from '../base/errors.ts';
import {
  type ControlClient,
  type ControlServer,
  defaultLinkOptions,
  isPeerId,
  type LinkOptions,
  type Transport,
} from './link.ts';
import { hostFacing } from './linkAddress.ts';
import { openZmqRing } from './zmqLinkRing.ts';
import { bindTcp, closeGently, commonOptions, connectable, monitorLoop, receiveLoop } from './zmqSocket.ts';

/**
 * Messages queued for a peer that does not read, before it counts as gone. Control traffic is a few messages a step, so a
 * queue this long means a stuck peer; without a bound it would grow until the memory is full.
 */
const queuedMessagesMax = 4096;

/**
 * When to probe after a connection was lost: ZeroMQ tells of the loss before its sending side has heard (it looks for news
 * once a millisecond), so that a probe sent at once may seem to succeed.
 */
const probeDelaysMs = [3, 30, 300];

export interface ZmqOptions extends LinkOptions {
  /** Between processes of one machine, send ring frames through a Unix socket (`linkLocal.ts`); default true. */
  localRing: boolean;
}

export function zmqTransport(options: Partial<ZmqOptions> = {}): Transport {
  const settings = { ...defaultLinkOptions, localRing: true, ...options };
  return {
    listen: (address) => listen(address, settings),
    connect: (address, peerId, timeoutMs) =>
      connect(address, peerId, { ...settings, connectTimeoutMs: timeoutMs ?? settings.connectTimeoutMs }),
    openRing: (host) => openZmqRing(host, settings, settings.localRing),
    hostFacing,
  };
}

function checkSize(maxMessageBytes: number, frames: readonly Uint8Array[]): void {
  for (const frame of frames) {
    if (frame.byteLength > maxMessageBytes) {
      throw new PeerError(`A message of ${frame.byteLength} bytes is above the limit of ${maxMessageBytes}.`);
    }
  }
}

async function listen(address: string, { maxMessageBytes, log }: LinkOptions): Promise<ControlServer> {
  const socket = new zmq.Router({
    ...commonOptions(maxMessageBytes),
    // Without `mandatory` a ROUTER drops silently what it cannot route or queue; with it, send rejects.
    mandatory: true,
    sendTimeout: 0, // a send that cannot queue its message rejects at once
    sendHighWaterMark: queuedMessagesMax,
    receiveHighWaterMark: queuedMessagesMax,
  });
  let bound: string;
  try {
    bound = await bindTcp(socket, address);
  } catch (error) {
    socket.close();
    throw error;
  }
  return new RouterServer(socket, bound, maxMessageBytes, log);
}

class RouterServer implements ControlServer {
  readonly address: string;
  dropped = 0;
  readonly #socket: zmq.Router;
  readonly #maxMessageBytes: number;
  readonly #log: (message: string) => void;
  /** Peers we have heard from and whose loss was not yet reported. */
  readonly #peers = new Set<string>();
  #onPeerGone: (peer: string, reason: string) => void = () => {};
  #listening = false;
  readonly #monitor: Promise<void>;

  constructor(socket: zmq.Router, address: string, maxMessageBytes: number, log: (message: string) => void) {
    this.#socket = socket;
    this.address = address;
    this.#maxMessageBytes = maxMessageBytes;
    this.#log = log;
    this.#monitor = monitorLoop(socket, (type) => {
      if (type === 'disconnect') for (const delayMs of probeDelaysMs) setTimeout(() => this.#probe(), delayMs).unref();
    });
  }

  send(peer: string, message: Uint8Array, payload?: Uint8Array): void {
    const frames = payload ? [message, payload] : [message];
    checkSize(this.#maxMessageBytes, frames);
    if (message.byteLength === 0) throw new InvariantError('An empty control message is a probe.');
    this.#post(peer, frames);
  }

  onMessage(listener: (peer: string, message: Uint8Array, payload?: Uint8Array) => void): void {
    if (this.#listening) throw new InvariantError('A control server has one listener.');
    this.#listening = true;
    void receiveLoop(this.#socket, (frames) => {
      const [id, message, payload] = frames;
      const peer = id?.toString('latin1') ?? '';
      if (!message || message.byteLength === 0 || frames.length > 3 || !isPeerId(peer)) {
        this.dropped++;
        this.#log(
          `dropped a control message of ${frames.length} frames from a peer with the id "${id?.toString('hex')}"`,
        );
        return undefined;
      }
      this.#peers.add(peer);
      listener(peer, message, payload);
      return undefined;
    });
  }

  onPeerGone(listener: (peer: string, reason: string) => void): void {
    this.#onPeerGone = listener;
  }

  async close(): Promise<void> {
    if (this.#socket.closed) return;
    this.#peers.clear();
    this.#onPeerGone = () => {};
    await closeGently(this.#socket, this.#monitor);
  }

  /** A monitor tells that a connection was lost, but not whose. Sending to each peer finds out: to the lost one it fails. */
  #probe(): void {
    for (const peer of [...this.#peers]) this.#post(peer, [new Uint8Array(0)]);
  }

  #post(peer: string, frames: Uint8Array[]): void {
    if (this.#socket.closed) return;
    this.#socket.send([peer, ...frames]).catch((error: unknown) => {
      if (this.#socket.closed) return;
      const code = errorCode(error);
      const reason =
        code === 'EHOSTUNREACH'
          ? 'its connection is closed'
          : code === 'EAGAIN'
            ? `it does not read: ${queuedMessagesMax} messages are queued for it`
            : messageOf(error);
      const wasProbe = frames[0]?.byteLength === 0;
      if (!this.#peers.delete(peer) && wasProbe) return;
      this.#onPeerGone(peer, reason);
    });
  }
}

async function connect(
  address: string,
  peerId: string,
  { maxMessageBytes, connectTimeoutMs, log }: LinkOptions,
): Promise<ControlClient> {
  if (!isPeerId(peerId))
    throw new UserError(`Expected a peer id of up to 64 letters and digits, received "${peerId}".`);
  const target = await connectable(address);
  const socket = new zmq.Dealer({
    ...commonOptions(maxMessageBytes),
    routingId: peerId,
    sendTimeout: 0, // a send that cannot queue its message rejects at once
    sendHighWaterMark: queuedMessagesMax,
    receiveHighWaterMark: queuedMessagesMax,
  });
  if (target.includes('[')) socket.ipv6 = true;
  const client = new DealerClient(socket, target, maxMessageBytes, log);
  if (!(await client.connected(connectTimeoutMs))) {
    await client.close();
    throw new PeerError(
      `Nobody answers at ${address} after ${connectTimeoutMs} ms: is the coordinator running, and is this its address?`,
    );
  }
  return client;
}

class DealerClient implements ControlClient {
  readonly #socket: zmq.Dealer;
  readonly #target: string;
  readonly #maxMessageBytes: number;
  readonly #log: (message: string) => void;
  #onServerGone: (reason: string) => void = () => {};
  /** Set when the server is lost before anyone listens for it. */
  #goneReason: string | undefined;
  #listening = false;
  #monitor: Promise<void> = Promise.resolve();
  #settle: (connected: boolean) => void = () => {};

  constructor(socket: zmq.Dealer, target: string, maxMessageBytes: number, log: (message: string) => void) {
    this.#socket = socket;
    this.#target = target;
    this.#maxMessageBytes = maxMessageBytes;
    this.#log = log;
  }

  /** Connects; false if there was no ZeroMQ handshake in time. */
  connected(timeoutMs: number): Promise<boolean> {
    const result = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      this.#settle = (connected) => {
        clearTimeout(timer);
        resolve(connected);
      };
    });
    let shaken = false;
    this.#monitor = monitorLoop(this.#socket, (type) => {
      if (type === 'handshake') {
        shaken = true;
        this.#settle(true);
      }
      if (type === 'disconnect' && shaken) this.#lost('its connection is closed');
    });
    this.#socket.connect(this.#target);
    return result;
  }

  send(message: Uint8Array, payload?: Uint8Array): void {
    const frames = payload ? [message, payload] : [message];
    checkSize(this.#maxMessageBytes, frames);
    if (message.byteLength === 0) throw new InvariantError('An empty control message is a probe.');
    if (this.#socket.closed || this.#goneReason !== undefined) return;
    this.#socket.send(frames).catch((error: unknown) => {
      if (this.#socket.closed) return;
      this.#log(`cannot send to the coordinator: ${messageOf(error)}`);
      this.#lost(`it does not read: ${queuedMessagesMax} messages are queued for it`);
    });
  }

  onMessage(listener: (message: Uint8Array, payload?: Uint8Array) => void): void {
    if (this.#listening) throw new InvariantError('A control client has one listener.');
    this.#listening = true;
    void receiveLoop(this.#socket, ([message, payload, ...rest]) => {
      if (!message || message.byteLength === 0) return undefined; // a probe
      if (rest.length > 0) this.#log(`dropped a control message of ${2 + rest.length} frames`);
      else listener(message, payload);
      return undefined;
    });
  }

  onServerGone(listener: (reason: string) => void): void {
    this.#onServerGone = listener;
    if (this.#goneReason !== undefined) listener(this.#goneReason);
  }

  async close(): Promise<void> {
    if (this.#socket.closed) return;
    this.#onServerGone = () => {};
    await closeGently(this.#socket, this.#monitor);
  }

  #lost(reason: string): void {
    if (this.#socket.closed || this.#goneReason !== undefined) return;
    this.#goneReason = reason;
    // Without this the socket would connect again, with a gap in the messages that nobody notices.
    this.#socket.disconnect(this.#target);
    this.#onServerGone(reason);
  }
}
