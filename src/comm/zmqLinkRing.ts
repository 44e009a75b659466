/**
 * The ring's sockets over ZeroMQ: a PULL that the previous rank connects to, and a PUSH to the next rank.
 *
 * ```
 *  frame:  [ header (RingHeader, `ringFrames.ts`) | payload (float32, little-endian) ]
 * ```
 *
 * A PUSH is made anew for every `connect`: it then has one connection in its life, so that its monitor's "disconnect" can
 * only mean the next rank, and frames queued for a rank that was replaced disappear with it.
 */
import * as zmq from 'zeromq';
import { InvariantError, messageOf, PeerError } from '../base/errors.ts';
import type { LinkOptions, RingLink } from './link.ts';
import { formatTcpAddress, parseTcpAddress } from './linkAddress.ts';
import { bindTcp, commonOptions, monitorLoop, receiveLoop } from './zmqSocket.ts';

/**
 * Frames that wait in memory between ZeroMQ's thread and a listener that is busy or has asked to wait. Above it the
 * sender's socket fills up. On the sending side there is no bound, since a queued frame is a reference into the gradient,
 * not a copy, and a step has a known number of them.
 */
const receivedFramesMax = 64;

export async function openZmqRing(host: string, { maxMessageBytes, log }: LinkOptions): Promise<RingLink> {
  const socket = new zmq.Pull({ ...commonOptions(maxMessageBytes), receiveHighWaterMark: receivedFramesMax });
  try {
    return new ZmqRing(socket, await bindTcp(socket, formatTcpAddress({ host, port: 0 })), maxMessageBytes, log);
  } catch (error) {
    socket.close();
    throw error;
  }
}

class ZmqRing implements RingLink {
  readonly address: string;
  dropped = 0;
  readonly #pull: zmq.Pull;
  readonly #maxMessageBytes: number;
  readonly #log: (message: string) => void;
  #push: zmq.Push | undefined;
  #onNextGone: (reason: string) => void = () => {};
  #listening = false;

  constructor(pull: zmq.Pull, address: string, maxMessageBytes: number, log: (message: string) => void) {
    this.#pull = pull;
    this.address = address;
    this.#maxMessageBytes = maxMessageBytes;
    this.#log = log;
  }

  connect(next: string): void {
    this.disconnect();
    const { host } = parseTcpAddress(next);
    const push = new zmq.Push({
      ...commonOptions(this.#maxMessageBytes),
      sendTimeout: 0,
      sendHighWaterMark: 0,
      ipv6: host.includes(':'),
    });
    this.#push = push;
    void monitorLoop(push, (type) => {
      if (type === 'disconnect') this.#lost(push, 'its connection is closed');
    });
    push.connect(next);
  }

  send(header: Uint8Array, payload: Uint8Array): void {
    if (payload.byteLength > this.#maxMessageBytes) {
      throw new PeerError(`A chunk of ${payload.byteLength} bytes is above the limit of ${this.#maxMessageBytes}.`);
    }
    const push = this.#push;
    // Headers are so short that zeromq.js copies them during the call; payloads it refers to.
    push?.send([header, payload]).catch((error: unknown) => this.#lost(push, messageOf(error)));
  }

  onFrame(listener: (header: Uint8Array, payload: Uint8Array) => Promise<void> | undefined): void {
    if (this.#listening) throw new InvariantError('A ring link has one listener.');
    this.#listening = true;
    void receiveLoop(this.#pull, (frames) => {
      const [header, payload] = frames;
      if (header && payload && frames.length === 2) return listener(header, payload);
      this.dropped++;
      this.#log(`dropped a ring message of ${frames.length} frames where 2 were expected`);
      return undefined;
    });
  }

  onNextGone(listener: (reason: string) => void): void {
    this.#onNextGone = listener;
  }

  disconnect(): void {
    this.#push?.close();
    this.#push = undefined;
  }

  async close(): Promise<void> {
    this.#onNextGone = () => {};
    this.disconnect();
    this.#pull.close();
  }

  #lost(push: zmq.Push, reason: string): void {
    if (this.#push !== push) return;
    this.disconnect();
    this.#onNextGone(reason);
  }
}
