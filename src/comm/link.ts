/**
 * The interfaces between the protocol and what carries it: a control link (star: one server, many clients) and a ring link
 * (every rank sends to its next and hears from its previous). Two implementations: `zmqLink.ts` (ZeroMQ over TCP) and
 * `memoryLink.ts` (one process). This file knows bytes only: the messages are in `protocol.ts`, the ring's frames in `ringFrames.ts`.
 *
 * Rules that hold for both implementations, and that one test suite checks on both:
 * - messages from one sender arrive complete and in order, never during the call that sent them;
 * - a message above `maxMessageBytes` is an error at the sender and is never delivered to a receiver;
 * - the bytes given to `send` must not change until the message has arrived (they may be sent without a copy);
 * - the bytes of a message belong to its listener; those of a ring frame only during the call;
 * - after `close` no listener is called again, and nothing keeps the process alive.
 */
import type { RingRun } from './ringReach.ts';

/** The coordinator's end of the control star. */
export interface ControlServer {
  /**
   * Where it listens: port 0 in `listen` has become the port that the system chose, a name its address. Every interface stays that:
   * `linkAddress.ts` says what to connect to then.
   */
  readonly address: string;
  /** How many were refused: messages of a wrong number of frames or from a peer without a valid id, and connections. */
  readonly dropped: number;
  /** Queues a message. Sending to a peer that is gone reports it to `onPeerGone` again and is otherwise without effect. */
  send(peer: string, message: Uint8Array, payload?: Uint8Array): void;
  onMessage(listener: (peer: string, message: Uint8Array, payload?: Uint8Array) => void): void;
  /** The connection of a peer that had sent something is lost, or its queue is full because it does not read. */
  onPeerGone(listener: (peer: string, reason: string) => void): void;
  /** Sends what is queued (for one second at most), then closes. The address is free again when this resolves. */
  close(): Promise<void>;
}

/** A worker's end of the control star. */
export interface ControlClient {
  send(message: Uint8Array, payload?: Uint8Array): void;
  onMessage(listener: (message: Uint8Array, payload?: Uint8Array) => void): void;
  /** The server is gone. The client does not connect again by itself: messages may have been lost. */
  onServerGone(listener: (reason: string) => void): void;
  close(): Promise<void>;
}

/** Every ring frame has a header of this length. */
export const ringHeaderBytes = 28;

/** One rank's two neighbours. A frame is a header and a payload of any length, also none. */
export interface RingLink {
  /** Where the previous rank connects to: perhaps several addresses, as this machine has them now. */
  readonly address: string;
  /**
   * The addresses at which the next rank did not answer, each with what happened, while it has answered at none; kept until `connect`.
   */
  readonly unreached: string | undefined;
  /** How many messages, connections and local streams were refused. */
  readonly dropped: number;
  /**
   * Sends to `next` from now on; what was queued for the rank before it is discarded. In an encrypted run only `previous` can connect
   * to this rank from now on, until then nobody.
   * @param timeoutMs how long some address of the next rank may take to accept a connection, instead of `connectTimeoutMs`
   * @throws PeerError if one of them is not an address of this transport's ring links
   */
  connect(next: string, previous: string, timeoutMs?: number): void;
  /** Queues a frame. The header, of ringHeaderBytes, is copied; the payload is read some time before it arrives at the next rank. */
  send(header: Uint8Array, payload: Uint8Array): void;
  /**
   * Frames from any connected sender. The bytes may be overwritten when the listener has returned. While a promise that it
   * returns is pending, no further frame is delivered.
   */
  onFrame(listener: (header: Uint8Array, payload: Uint8Array) => Promise<void> | undefined): void;
  /** The connection to the next rank is lost, or could not be made. */
  onNextGone(listener: (reason: string) => void): void;
  /** Stops sending; what is queued is discarded. Frames are still received. */
  disconnect(): void;
  close(): Promise<void>;
}

/** Opens links. Addresses of one transport mean nothing to another. */
export interface Transport {
  /** @throws UserError if the address is malformed, in use, or not one of this machine's. */
  listen(address: string): Promise<ControlServer>;
  /**
   * @param peerId the name the server will know this client by, unique among its clients; see {@link isPeerId}.
   * @param timeoutMs how long to wait for the server to answer, instead of `connectTimeoutMs`
   * @throws UserError if the address is malformed, or the keys are not those of its run; UnreachableError if its host is unknown or
   *   nobody answers in time; PeerError if what answers is not a coordinator
   */
  connect(address: string, peerId: string, timeoutMs?: number): Promise<ControlClient>;
  /**
   * @param host where to listen: an address of this machine, or `0.0.0.0`, `::` or `*` for every interface. Absent: every interface
   *   where the ring is encrypted, else the one that faces the coordinator. A transport may have been told to listen elsewhere.
   * @param run how its worker comes to the coordinator; absent where there is none
   * @throws UserError if `host` is not an address of this machine; UnreachableError if the coordinator's host is unknown or no route leads to it
   */
  openRing(host: string | undefined, run?: RingRun): Promise<RingLink>;
}

export interface LinkOptions {
  /** The largest frame that is sent or accepted, in bytes. */
  maxMessageBytes: number;
  /** How long `connect` waits for the server to answer. */
  connectTimeoutMs: number;
  /** Told about every refused message and every failed send. */
  log: (message: string) => void;
}

export const defaultLinkOptions: LinkOptions = {
  maxMessageBytes: 256 * 2 ** 20,
  connectTimeoutMs: 10_000,
  log: () => {},
};

/** Letters, digits, `.`, `_`, `-`; at most 64. ZeroMQ makes up ids that start with a zero byte, so they cannot collide. */
export function isPeerId(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(text);
}
