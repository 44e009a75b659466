/**
 * The ring's sockets: a ZeroMQ PULL that the previous rank connects to, and a PUSH to the next rank. Between two processes of
 * one machine the frames themselves take the shorter way of `unixSocketRing.ts`; the PUSH then carries only the offer of it.
 *
 * ```
 *  frame:  [ header (RingHeader, `ringFrames.ts`) | payload (float32, little-endian) ]
 *  offer:  [ UnixSocketOffer, `unixSocketRing.ts` ]                                   the first message of a PUSH, if any
 * ```
 *
 * In an encrypted run each ring end has a key pair of its own, made when it is opened; its public key is part of its address
 * (`ringAddress.ts`), which only the coordinator and its neighbours learn. The PUSH speaks with the holder of the next rank's key
 * alone, and the PULL lets in the previous rank's alone. The PUSH is in `zmqRingNext.ts`.
 */
import * as zmq from 'zeromq';
import { InvariantError, invariant, PeerError } from '../base/errors.ts';
import { type LinkOptions, type RingLink, ringHeaderBytes } from './link.ts';
import { hostFacing, isLoopbackHost } from './linkAddress.ts';
import { RefusedConnections } from './refusedConnections.ts';
import { formatRingAddress, parseRingAddress } from './ringAddress.ts';
import { addressOfInterface, bindRing, type RingPlace } from './ringPlace.ts';
import { addressesToTry, CoordinatorHost, offeredAddresses, type RingRun } from './ringReach.ts';
import { localHostId, parseOffer, type UnixSocketOffer, UnixSocketReceiver } from './unixSocketRing.ts';
import { openZapDomain, type ZapDomain } from './zmqAuthentication.ts';
import { NextRank } from './zmqRingNext.ts';
import { commonOptions, curveServer, type KeyPair, monitorLoop, receiveLoop, ringMessageBytes } from './zmqSocket.ts';

/**
 * Frames that wait in memory between ZeroMQ's thread and a listener that is busy or has asked to wait. Above it the
 * sender's socket fills up. On the sending side there is no bound, since a queued frame is a reference into the gradient,
 * not a copy, and a step has a known number of them.
 */
const receivedFramesMax = 64;

/**
 * How long a rank may be behind the one before it in learning of a new ring, of which it takes this long to say that it does not
 * know it. Within the 30 s that ZeroMQ gives a handshake.
 */
const patienceMs = 20_000;

/** Local streams at a time. More than one only while the previous rank is being replaced. */
const localReceiversMax = 8;

/** Messages that are dropped with a line in the log; all are counted. */
const malformedLoggedMax = 5;

type FrameListener = (header: Uint8Array, payload: Uint8Array) => Promise<void> | undefined;

export interface RingLinkOptions extends LinkOptions {
  /** Whether to use the local path where it is available. */
  localRing: boolean;
  /** Whether to use a key pair and refuse peers without one. */
  encrypted: boolean;
  /** Its interface is for ring ends that other machines are to reach, which are encrypted. */
  place: RingPlace;
}

/** As {@link Transport.openRing}. */
export async function openZmqRing(
  host: string | undefined,
  run: RingRun | undefined,
  given: RingLinkOptions,
): Promise<RingLink> {
  const coordinator = run && new CoordinatorHost(run.coordinatorAddress);
  const facing =
    coordinator && !run.isBeside ? await hostFacing(await coordinator.resolved(), coordinator.address) : undefined;
  const options = { ...given, maxMessageBytes: ringMessageBytes(given.maxMessageBytes) };
  const { maxMessageBytes, encrypted, place, log } = options;
  const isForOthers = encrypted && !(host !== undefined && isLoopbackHost(host));
  const chosen = place.interfaces && isForOthers ? addressOfInterface(place.interfaces) : undefined;
  const refused = new RefusedConnections("the ring's port", log);
  const onRefused = (from: string) => refused.add('it is not from the previous rank', ` from ${from}`);
  const keys = encrypted ? zmq.curveKeyPair() : undefined;
  const domain = encrypted ? await openZapDomain({ patienceMs, onRefused }) : undefined;
  const pull = new zmq.Pull({
    ...commonOptions(maxMessageBytes),
    ...(keys && domain && curveServer(keys, domain.name)),
    receiveHighWaterMark: receivedFramesMax,
  });
  try {
    const at = chosen ?? host ?? (encrypted ? '*' : (facing ?? '127.0.0.1'));
    const bound = await bindRing(pull, at, place.ports);
    const isBeside = chosen === undefined && run?.isBeside === true;
    return new ZmqRing({ pull, bound, isBeside, coordinator, facing, keys, domain, refused }, options);
  } catch (error) {
    pull.close();
    domain?.close();
    throw error;
  }
}

interface Parts {
  readonly pull: zmq.Pull;
  /** What it is bound to. */
  readonly bound: string;
  /** Whether it listens where the coordinator does. */
  readonly isBeside: boolean;
  readonly coordinator: CoordinatorHost | undefined;
  /** This machine's address that faces the coordinator. */
  readonly facing: string | undefined;
  readonly keys: KeyPair | undefined;
  readonly domain: ZapDomain | undefined;
  readonly refused: RefusedConnections;
}

class ZmqRing implements RingLink {
  readonly #parts: Parts;
  readonly #options: RingLinkOptions;
  readonly #hostId: string | undefined;
  readonly #pull: zmq.Pull;
  readonly #receivers = new Set<UnixSocketReceiver>();
  #malformed = 0;
  #next: NextRank | undefined;
  /** Set if the next rank is gone: the addresses at which it could not be reached. */
  #unreached: string | undefined;
  #onNextGone: (reason: string) => void = () => {};
  #listener: FrameListener | undefined;
  #setListener: () => void = () => {};
  readonly #listening = new Promise<void>((resolve) => {
    this.#setListener = resolve;
  });

  constructor(parts: Parts, options: RingLinkOptions) {
    const { pull, refused } = parts;
    this.#parts = parts;
    this.#options = options;
    this.#pull = pull;
    this.#hostId = options.localRing ? localHostId() : undefined;
    void monitorLoop(pull, (event) => refused.watch(event));
    void receiveLoop(pull, (frames) => this.#receive(frames));
  }

  get address(): string {
    const { bound, isBeside, facing, keys } = this.#parts;
    const tcp = offeredAddresses(bound, { isBeside, facing });
    return formatRingAddress({ tcp, hostId: this.#hostId, publicKey: keys?.publicKey });
  }

  get unreached(): string | undefined {
    return this.#next ? this.#next.unreached : this.#unreached;
  }

  get dropped(): number {
    return this.#malformed + this.#parts.refused.count;
  }

  connect(next: string, previous: string, timeoutMs = this.#options.connectTimeoutMs): void {
    this.disconnect();
    this.#unreached = undefined;
    const offered = parseRingAddress(next);
    const { hostId, publicKey: serverKey } = offered;
    const { keys, domain, coordinator } = this.#parts;
    if (domain) {
      const { publicKey } = parseRingAddress(previous);
      if (publicKey === undefined || serverKey === undefined) {
        throw new PeerError(`expected ring addresses with keys, received next ${next}, previous ${previous}`);
      }
      domain.allow([publicKey]);
    }
    const rank: NextRank = new NextRank({
      addresses: addressesToTry(offered, this.#hostId, coordinator),
      timeoutMs,
      local: hostId !== undefined && hostId === this.#hostId,
      keys: keys && serverKey !== undefined ? { own: keys, serverKey } : undefined,
      link: this.#options,
      gone: (reason) => {
        if (this.#next !== rank) return;
        this.#unreached = rank.unreached;
        this.disconnect();
        this.#onNextGone(reason);
      },
    });
    this.#next = rank;
  }

  send(header: Uint8Array, payload: Uint8Array): void {
    const { maxMessageBytes } = this.#options;
    invariant(header.byteLength === ringHeaderBytes, `a ring header has ${ringHeaderBytes} bytes`);
    if (payload.byteLength > maxMessageBytes) {
      throw new PeerError(`a chunk of ${payload.byteLength} bytes is above the limit of ${maxMessageBytes}.`);
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
    this.#parts.domain?.close();
  }

  #receive(frames: Buffer[]): Promise<void> | undefined {
    const [header, payload] = frames;
    if (header && payload && frames.length === 2) return this.#deliver(header, payload);
    const offer = header && frames.length === 1 ? parseOffer(header) : undefined;
    if (offer && this.#receivers.size < localReceiversMax) this.#receiveLocally(offer);
    else this.#drop(`dropped a ring message of ${frames.length} frames where 2 were expected`);
    return undefined;
  }

  #receiveLocally(offer: UnixSocketOffer): void {
    const receiver = new UnixSocketReceiver({
      offer,
      maxMessageBytes: this.#options.maxMessageBytes,
      onFrame: (header, payload) => this.#deliver(header, payload),
      onEnd: (reason) => {
        this.#receivers.delete(receiver);
        if (reason === undefined || this.#pull.closed) return;
        this.#drop(`the local stream from the previous rank ended: ${reason}`);
      },
    });
    this.#receivers.add(receiver);
  }

  #drop(message: string): void {
    this.#malformed++;
    if (this.#malformed <= malformedLoggedMax) this.#options.log(message);
  }

  #deliver(header: Uint8Array, payload: Uint8Array): Promise<void> | undefined {
    if (this.#pull.closed) return undefined;
    return this.#listener
      ? this.#listener(header, payload)
      : this.#listening.then(() => this.#deliver(header, payload));
  }
}
