/** A worker's end of the control star: a ZeroMQ DEALER. What its messages look like is in `zmqLink.ts`. */
import * as zmq from 'zeromq';
import { InvariantError, messageOf, PeerError, UserError } from '../base/errors.ts';
import { type ControlClient, isPeerId, type LinkOptions } from './link.ts';
import { UnreachableError } from './linkAddress.ts';
import { joinKeyVariable, type RunKeys } from './runKeys.ts';
import {
  checkSize,
  clientMessageBytes,
  closeGently,
  commonOptions,
  connectable,
  curveClient,
  monitorLoop,
  queuedMessagesMax,
  receiveLoop,
} from './zmqSocket.ts';

/**
 * A coordinator of another run does not say why it ends a handshake: it cannot read who we are. ZeroMQ tries again every 0.1 s;
 * after this many attempts it is not an accident.
 */
const brokenHandshakesMax = 5;

/** How long one address of several has to accept a connection, before the next one is tried. */
const turnMs = 500;

/** Why there is no connection. */
type ConnectFailure = 'refused' | 'mismatch' | 'foreign' | 'broken' | 'timeout';

/** As `connect` of a `Transport`. */
export async function connect(
  address: string,
  peerId: string,
  keys: RunKeys | undefined,
  options: LinkOptions,
): Promise<ControlClient> {
  if (!isPeerId(peerId))
    throw new UserError(`expected a peer id of up to 64 letters and digits, received "${peerId}".`);
  return await connectToOne(await connectable(address), address, { peerId, keys, options });
}

/**
 * A name may have several addresses, and the coordinator listen on one of them: each in turn, until the time is over.
 * @param targets one at least
 * @param address for messages
 */
export async function connectToOne(
  targets: readonly string[],
  address: string,
  { peerId, keys, options }: { peerId: string; keys: RunKeys | undefined; options: LinkOptions },
): Promise<ControlClient> {
  const { connectTimeoutMs } = options;
  const endMs = performance.now() + connectTimeoutMs;
  for (let turn = 0; ; turn++) {
    const target = targets[turn % targets.length] ?? address;
    const leftMs = endMs - performance.now();
    const acceptMs = targets.length === 1 ? leftMs : turnMs;
    const client = openClient(target, peerId, keys, options);
    const failure = await client.connected(leftMs, acceptMs, keys !== undefined);
    if (failure === undefined) return client;
    await client.close();
    if (failure === 'timeout' && performance.now() < endMs) continue;
    throw failureError(failure, address, keys !== undefined);
  }
}

function openClient(
  target: string,
  peerId: string,
  keys: RunKeys | undefined,
  { maxMessageBytes, log }: LinkOptions,
): DealerClient {
  const socket = new zmq.Dealer({
    ...commonOptions(maxMessageBytes),
    ...(keys && curveClient({ publicKey: keys.joinPublicKey, secretKey: keys.joinSecretKey }, keys.serverPublicKey)),
    routingId: peerId,
    sendTimeout: 0, // a send that cannot queue its message rejects at once
    sendHighWaterMark: queuedMessagesMax,
    receiveHighWaterMark: queuedMessagesMax,
  });
  if (target.includes('[')) socket.ipv6 = true;
  return new DealerClient(socket, target, clientMessageBytes(maxMessageBytes), log);
}

function failureError(failure: ConnectFailure, address: string, keyed: boolean): Error {
  switch (failure) {
    case 'refused':
    case 'broken':
      return new UserError(`the coordinator at ${address} does not know this key: is it the join.key of the same run?`);
    case 'mismatch':
      return new UserError(
        keyed
          ? `what listens at ${address} does not encrypt, and a key was given: is it the coordinator of this run?`
          : `the coordinator at ${address} expects the key of its run: name the join.key of its run directory with --key, or put its contents into ${joinKeyVariable}.`,
      );
    case 'foreign':
      return new PeerError(`the server at ${address} is not a coordinator: is this its address?`);
    case 'timeout':
      return new UnreachableError(
        `nobody answers at ${address}: is the coordinator running, and is this its address?`,
        'nothing answers',
      );
    default:
      return failure satisfies never;
  }
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
  #settle: (failure: ConnectFailure | undefined) => void = () => {};

  constructor(socket: zmq.Dealer, target: string, maxMessageBytes: number, log: (message: string) => void) {
    this.#socket = socket;
    this.#target = target;
    this.#maxMessageBytes = maxMessageBytes;
    this.#log = log;
  }

  /**
   * Connects; what went wrong, if there was no handshake in time or will be none.
   * @param acceptMs how long to wait for the connection, of the time for the handshake
   */
  connected(timeoutMs: number, acceptMs: number, keyed: boolean): Promise<ConnectFailure | undefined> {
    let acceptTimer: NodeJS.Timeout | undefined;
    const result = new Promise<ConnectFailure | undefined>((resolve) => {
      const timer = setTimeout(() => this.#settle('timeout'), timeoutMs);
      acceptTimer = setTimeout(() => this.#settle('timeout'), acceptMs);
      this.#settle = (failure) => {
        clearTimeout(timer);
        clearTimeout(acceptTimer);
        resolve(failure);
      };
    });
    let shaken = false;
    let brokenTotal = 0;
    let broken = false;
    this.#monitor = monitorLoop(this.#socket, (event) => {
      if (event.type === 'connect') {
        broken = false;
        clearTimeout(acceptTimer);
      } else if (event.type === 'handshake') {
        shaken = true;
        this.#settle(undefined);
      } else if (event.type === 'handshake:error:auth') this.#settle('refused');
      else if (event.type === 'handshake:error:protocol') {
        this.#settle(event.error.code === 'ERR_ZMTP_MECHANISM_MISMATCH' ? 'mismatch' : 'foreign');
      } else if (event.type === 'handshake:error:other') {
        broken = true;
        if (keyed && ++brokenTotal === brokenHandshakesMax) this.#settle('broken');
      } else if (event.type === 'disconnect' && shaken) this.#lost('its connection is closed');
      // What is not even the protocol of ZeroMQ has no event of its own, and is not tried again.
      else if (event.type === 'disconnect' && !broken) this.#settle('foreign');
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
