/**
 * The ring's sockets: a ZeroMQ PULL that the previous rank connects to, and a PUSH to the next rank. Between two processes of
 * one machine the frames themselves take the shorter way of `linkLocal.ts`; the PUSH then carries only the offer of it.
 *
 * ```
 *  frame:  [ header (RingHeader, `ringFrames.ts`) | payload (float32, little-endian) ]
 *  offer:  [ name of a local socket ]                                       the first message of a PUSH, if any
 *
 *  address:  tcp://HOST:PORT or tcp://HOST:PORT/HOST-ID                     equal host ids: the same machine
 * ```
 *
 * A PUSH is made anew for every `connect`: it then has one connection in its life, so that its monitor's "disconnect" can
 * only mean the next rank, and frames queued for a rank that was replaced disappear with it.
 */
import * as zmq from 'zeromq';
import { InvariantError, invariant, messageOf, PeerError } from '../base/errors.ts';
import { type LinkOptions, type RingLink, ringHeaderBytes } from './link.ts';
import { formatTcpAddress, parseTcpAddress } from './linkAddress.ts';
import { isLocalName, LocalReceiver, LocalSender, localHostId } from './linkLocal.ts';
import { bindTcp, commonOptions, monitorLoop, receiveLoop } from './zmqSocket.ts';

/**
 * Frames that wait in memory between ZeroMQ's thread and a listener that is busy or has asked to wait. Above it the
 * sender's socket fills up. On the sending side there is no bound, since a queued frame is a reference into the gradient,
 * not a copy, and a step has a known number of them.
 */
const receivedFramesMax = 64;

/** How long an offer stands. Containers that share a machine but no network cannot take it up. */
const offerTimeoutMs = 3000;

/** Local streams at a time. More than one only while the previous rank is being replaced. */
const localReceiversMax = 8;

type FrameListener = (header: Uint8Array, payload: Uint8Array) => Promise<void> | undefined;

/** @param local whether to use the local path where it is available */
export async function openZmqRing(host: string, options: LinkOptions, local = true): Promise<RingLink> {
  const { maxMessageBytes } = options;
  const pull = new zmq.Pull({ ...commonOptions(maxMessageBytes), receiveHighWaterMark: receivedFramesMax });
  try {
    const address = await bindTcp(pull, formatTcpAddress({ host, port: 0 }));
    return new ZmqRing(pull, address, local ? localHostId() : undefined, options);
  } catch (error) {
    pull.close();
    throw error;
  }
}

class ZmqRing implements RingLink {
  readonly address: string;
  dropped = 0;
  readonly #options: LinkOptions;
  readonly #hostId: string | undefined;
  readonly #pull: zmq.Pull;
  readonly #receivers = new Set<LocalReceiver>();
  #next: NextRank | undefined;
  #onNextGone: (reason: string) => void = () => {};
  #listener: FrameListener | undefined;
  #setListener: () => void = () => {};
  readonly #listening = new Promise<void>((resolve) => {
    this.#setListener = resolve;
  });

  constructor(pull: zmq.Pull, address: string, hostId: string | undefined, options: LinkOptions) {
    this.#pull = pull;
    this.#hostId = hostId;
    this.#options = options;
    this.address = hostId === undefined ? address : `${address}/${hostId}`;
    void receiveLoop(pull, (frames) => this.#receive(frames));
  }

  connect(next: string): void {
    this.disconnect();
    const slash = next.indexOf('/', 'tcp://'.length);
    const address = slash === -1 ? next : next.slice(0, slash);
    const local = this.#hostId !== undefined && next.slice(address.length + 1) === this.#hostId;
    const rank: NextRank = new NextRank(address, local, this.#options, (reason) => {
      if (this.#next !== rank) return;
      this.disconnect();
      this.#onNextGone(reason);
    });
    this.#next = rank;
  }

  send(header: Uint8Array, payload: Uint8Array): void {
    const { maxMessageBytes } = this.#options;
    invariant(header.byteLength === ringHeaderBytes, `a ring header has ${ringHeaderBytes} bytes`);
    if (payload.byteLength > maxMessageBytes) {
      throw new PeerError(`A chunk of ${payload.byteLength} bytes is above the limit of ${maxMessageBytes}.`);
    }
    this.#next?.send(header, payload);
  }

  onFrame(listener: FrameListener): void {
    if (this.#listener) throw new InvariantError('A ring link has one listener.');
    this.#listener = listener;
    this.#setListener();
  }

  onNextGone(listener: (reason: string) => void): void {
    this.#onNextGone = listener;
  }

  disconnect(): void {
    this.#next?.close();
    this.#next = undefined;
  }

  async close(): Promise<void> {
    this.#onNextGone = () => {};
    this.disconnect();
    for (const receiver of this.#receivers) receiver.close();
    this.#pull.close();
  }

  #receive(frames: Buffer[]): Promise<void> | undefined {
    const [header, payload] = frames;
    if (header && payload && frames.length === 2) return this.#deliver(header, payload);
    const name = header?.toString('latin1') ?? '';
    if (frames.length === 1 && isLocalName(name) && this.#receivers.size < localReceiversMax)
      this.#receiveLocally(name);
    else {
      this.dropped++;
      this.#options.log(`dropped a ring message of ${frames.length} frames where 2 were expected`);
    }
    return undefined;
  }

  #receiveLocally(name: string): void {
    const receiver = new LocalReceiver({
      name,
      maxMessageBytes: this.#options.maxMessageBytes,
      onFrame: (header, payload) => this.#deliver(header, payload),
      onEnd: (reason) => {
        this.#receivers.delete(receiver);
        if (reason === undefined || this.#pull.closed) return;
        this.dropped++;
        this.#options.log(`the local stream from the previous rank ended: ${reason}`);
      },
    });
    this.#receivers.add(receiver);
  }

  #deliver(header: Uint8Array, payload: Uint8Array): Promise<void> | undefined {
    if (this.#pull.closed) return undefined;
    return this.#listener
      ? this.#listener(header, payload)
      : this.#listening.then(() => this.#deliver(header, payload));
  }
}

/** The way to the next rank: through ZeroMQ, or through a local stream once it is connected. One of them, for all frames. */
class NextRank {
  readonly #push: zmq.Push;
  readonly #gone: (reason: string) => void;
  #local: LocalSender | undefined;
  #offerTimer: NodeJS.Timeout | undefined;
  /** Frames that wait for the decision which way is taken. */
  #undecided: [header: Uint8Array, payload: Uint8Array][] | undefined;

  constructor(address: string, local: boolean, { maxMessageBytes, log }: LinkOptions, gone: (reason: string) => void) {
    this.#gone = gone;
    const ipv6 = parseTcpAddress(address).host.includes(':');
    this.#push = new zmq.Push({ ...commonOptions(maxMessageBytes), sendTimeout: 0, sendHighWaterMark: 0, ipv6 });
    void monitorLoop(this.#push, (type) => {
      if (type === 'disconnect') gone('its connection is closed');
    });
    this.#push.connect(address);
    if (local) this.#offer(log);
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

  #offer(log: (message: string) => void): void {
    this.#undecided = [];
    const refuse = (reason: string) => {
      log(`no local stream to the next rank (${reason}): using TCP`);
      this.#local?.close();
      this.#local = undefined;
      this.#decided();
    };
    const local = new LocalSender({
      listening: () => this.#post([Buffer.from(local.name, 'latin1')]),
      connected: () => this.#decided(),
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
