/**
 * The way to the next rank: a ZeroMQ PUSH, or a local stream (`unixSocketRing.ts`) that the PUSH has offered and the next rank has
 * taken up. One of them, for all frames. A PUSH is made anew for every `connect`, by `zmqDial.ts`.
 */
import * as zmq from 'zeromq';
import { messageOf } from '../base/errors.ts';
import { durationOf } from '../base/numberText.ts';
import type { LinkOptions } from './link.ts';
import { parseTcpAddress } from './linkAddress.ts';
import { UnixSocketSender } from './unixSocketRing.ts';
import { Dial } from './zmqDial.ts';
import { commonOptions, curveClient, type KeyPair } from './zmqSocket.ts';

/** How long an offer stands. */
const offerTimeoutMs = 3000;

export interface NextRankOptions {
  /** Each `tcp://HOST:PORT`, the likeliest first. */
  readonly addresses: Promise<readonly string[]>;
  /** How long to wait for one of them to accept a connection. */
  readonly timeoutMs: number;
  /** Whether it is a process of this machine that takes offers. */
  readonly local: boolean;
  /** To encrypt with: this rank's own pair, and the public key of the next. */
  readonly keys: { readonly own: KeyPair; readonly serverKey: string } | undefined;
  readonly link: LinkOptions;
  /** The next rank is lost, or could not be reached. May be called more than once. */
  readonly gone: (reason: string) => void;
}

export class NextRank {
  readonly #options: NextRankOptions;
  readonly #dial: Dial;
  /** Once the next rank has answered. */
  #push: zmq.Push | undefined;
  #local: UnixSocketSender | undefined;
  #offerTimer: NodeJS.Timeout | undefined;
  /** Frames that wait until there is a connection, and the decision which way is taken. */
  #undecided: [header: Uint8Array, payload: Uint8Array][] | undefined = [];

  constructor(options: NextRankOptions) {
    this.#options = options;
    const { addresses, timeoutMs, gone, local, keys, link } = options;
    this.#dial = new Dial({
      addresses,
      timeoutMs,
      gone,
      open: (address) =>
        new zmq.Push({
          ...commonOptions(link.maxMessageBytes),
          ...(keys && curveClient(keys.own, keys.serverKey)),
          sendTimeout: 0,
          // A queued frame is a reference into the gradient, not a copy, and a step has a known number of them.
          sendHighWaterMark: 0,
          ipv6: parseTcpAddress(address).host.includes(':'),
        }),
      connected: (push) => {
        this.#push = push;
        if (local) this.#offer();
        else this.#decided();
      },
    });
  }

  /** Each address with the reason why the next rank does not answer there; undefined if it has answered at one, or still may. */
  get unreached(): string | undefined {
    return this.#dial.unreached;
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
    this.#dial.close();
  }

  #offer(): void {
    if (this.#push?.closed || this.#local) return;
    const refuse = (reason: string) => {
      this.#options.link.log(`no local stream to the next rank (${reason}): using TCP`);
      this.#local?.close();
      this.#local = undefined;
      this.#decided();
    };
    const local = new UnixSocketSender({
      listening: () => this.#post([local.offer]),
      connected: () => this.#decided(),
      stranger: () => this.#options.link.log('a stranger came to the local stream of the ring: dropped'),
      gone: (reason) => (this.#undecided ? refuse(reason) : this.#options.gone(reason)),
    });
    this.#local = local;
    this.#offerTimer = setTimeout(() => refuse(`not taken up within ${durationOf(offerTimeoutMs)}`), offerTimeoutMs);
  }

  #decided(): void {
    clearTimeout(this.#offerTimer);
    const frames = this.#undecided ?? [];
    this.#undecided = undefined;
    for (const [header, payload] of frames) this.send(header, payload);
  }

  /** Names and headers are so short that zeromq.js copies them during the call; payloads it refers to. */
  #post(frames: Uint8Array[]): void {
    if (this.#push === undefined || this.#push.closed) return;
    this.#push.send(frames).catch((error: unknown) => this.#options.gone(messageOf(error)));
  }
}
