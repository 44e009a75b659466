/**
 * The way to the next rank: a ZeroMQ PUSH, or a local stream (`unixSocketRing.ts`) that the PUSH has offered and the next rank has
 * taken up. One of them, for all frames.
 *
 * A PUSH is made anew for every `connect`: it then has one connection in its life, so that its monitor's "disconnect" can
 * only mean the next rank, and frames queued for a rank that was replaced disappear with it.
 */
import * as zmq from 'zeromq';
import { messageOf } from '../base/errors.ts';
import type { LinkOptions } from './link.ts';
import { parseTcpAddress } from './linkAddress.ts';
import { UnixSocketSender } from './unixSocketRing.ts';
import { commonOptions, curveClient, type KeyPair, monitorLoop } from './zmqSocket.ts';

/** How long an offer stands. */
const offerTimeoutMs = 3000;

export interface NextRankOptions {
  /** `tcp://HOST:PORT` */
  readonly tcp: string;
  /** Whether it is a process of this machine that takes offers. */
  readonly local: boolean;
  /** To encrypt with: this rank's own pair, and the public key of the next. */
  readonly keys: { readonly own: KeyPair; readonly serverKey: string } | undefined;
  readonly link: LinkOptions;
  /** The next rank is lost, or could not be reached. May be called more than once. */
  readonly gone: (reason: string) => void;
}

export class NextRank {
  readonly #push: zmq.Push;
  readonly #gone: (reason: string) => void;
  readonly #log: (message: string) => void;
  #local: UnixSocketSender | undefined;
  #offerTimer: NodeJS.Timeout | undefined;
  /** Frames that wait for the decision which way is taken. */
  #undecided: [header: Uint8Array, payload: Uint8Array][] | undefined;

  constructor({ tcp, local, keys, link, gone }: NextRankOptions) {
    this.#gone = gone;
    this.#log = link.log;
    if (local) this.#undecided = [];
    this.#push = new zmq.Push({
      ...commonOptions(link.maxMessageBytes),
      ...(keys && curveClient(keys.own, keys.serverKey)),
      sendTimeout: 0,
      // A queued frame is a reference into the gradient, not a copy, and a step has a known number of them.
      sendHighWaterMark: 0,
      ipv6: parseTcpAddress(tcp).host.includes(':'),
    });
    void monitorLoop(this.#push, (event) => {
      // Not before: the next rank may take a while to learn of this ring, and until then it lets nobody in.
      if (event.type === 'handshake' && local) this.#offer();
      else if (event.type === 'handshake:error:auth') gone('it does not take this rank for its previous one');
      else if (event.type === 'handshake:error:protocol') gone(`the handshake with it failed: ${event.error.code}`);
      else if (event.type === 'disconnect') gone('its connection is closed');
    });
    this.#push.connect(tcp);
  }

  send(header: Uint8Array, payload: Uint8Array): void {
    if (this.#undecided) this.#undecided.push([new Uint8Array(header), payload]);
    else if (this.#local) this.#local.send(header, payload);
    else this.#post([header, payload]);
  }

  close(): void {
    clearTimeout(this.#offerTimer);
    this.#undecided = undefined;
    this.#local?.close();
    this.#push.close();
  }

  #offer(): void {
    if (this.#push.closed || this.#local) return;
    const refuse = (reason: string) => {
      this.#log(`no local stream to the next rank (${reason}): using TCP`);
      this.#local?.close();
      this.#local = undefined;
      this.#decided();
    };
    const local = new UnixSocketSender({
      listening: () => this.#post([local.offer]),
      connected: () => this.#decided(),
      stranger: () => this.#log('a stranger came to the local stream of the ring: dropped'),
      gone: (reason) => (this.#undecided ? refuse(reason) : this.#gone(reason)),
    });
    this.#local = local;
    this.#offerTimer = setTimeout(() => refuse(`not taken up within ${offerTimeoutMs} ms`), offerTimeoutMs);
  }

  #decided(): void {
    clearTimeout(this.#offerTimer);
    const frames = this.#undecided ?? [];
    this.#undecided = undefined;
    for (const [header, payload] of frames) this.send(header, payload);
  }

  /** Names and headers are so short that zeromq.js copies them during the call; payloads it refers to. */
  #post(frames: Uint8Array[]): void {
    if (this.#push.closed) return;
    this.#push.send(frames).catch((error: unknown) => this.#gone(messageOf(error)));
  }
}
