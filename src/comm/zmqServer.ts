/** The coordinator's end of the control star: a ZeroMQ ROUTER. What its messages look like is in `zmqLink.ts`. */
import * as zmq from 'zeromq';
import { errorCode, InvariantError, messageOf, UserError } from '../base/errors.ts';
import { type ControlServer, isPeerId, type LinkOptions } from './link.ts';
import { RefusedConnections } from './refusedConnections.ts';
import type { RunKeys } from './runKeys.ts';
import { openZapDomain, type ZapDomain } from './zmqAuthentication.ts';
import {
  bindTcp,
  checkSize,
  clientMessageBytes,
  closeGently,
  commonOptions,
  curveServer,
  monitorLoop,
  queuedMessagesMax,
  receiveLoop,
} from './zmqSocket.ts';

/**
 * When to probe after a connection was lost: ZeroMQ tells of the loss before its sending side has heard (it looks for news
 * once a millisecond), so that a probe sent at once may seem to succeed.
 */
const probeDelaysMs = [3, 30, 300];
/** Probes are due at multiples of this time, so that many losses at once need few of them: each goes to every peer. */
const probeEveryMs = 3;

/** @throws UserError if the address is malformed, in use, or not one of this machine's, or if `keys` are not the coordinator's */
export async function listen(
  address: string,
  keys: RunKeys | undefined,
  { maxMessageBytes, log }: LinkOptions,
): Promise<ControlServer> {
  const refused = new RefusedConnections("the coordinator's port", log);
  const domain = keys && (await openDomain(keys, refused));
  const socket = new zmq.Router({
    ...commonOptions(clientMessageBytes(maxMessageBytes)),
    ...(keys && domain && curveServer(serverPair(keys), domain.name)),
    // Without `mandatory` a ROUTER drops silently what it cannot route or queue; with it, send rejects.
    mandatory: true,
    sendTimeout: 0, // a send that cannot queue its message rejects at once
    sendHighWaterMark: queuedMessagesMax,
    receiveHighWaterMark: queuedMessagesMax,
  });
  try {
    const bound = await bindTcp(socket, address);
    return new RouterServer({ socket, address: bound, maxMessageBytes, log, refused, domain });
  } catch (error) {
    socket.close();
    domain?.close();
    throw error;
  }
}

function serverPair({ serverPublicKey, serverSecretKey }: RunKeys) {
  if (serverSecretKey === undefined) {
    throw new UserError("expected the coordinator's keys (run.key), received those for joining its run (join.key)");
  }
  return { publicKey: serverPublicKey, secretKey: serverSecretKey };
}

async function openDomain(keys: RunKeys, refused: RefusedConnections): Promise<ZapDomain> {
  serverPair(keys);
  const domain = await openZapDomain({
    patienceMs: 0,
    onRefused: (from) => refused.add("it knows the coordinator's key but has not the one for joining", ` from ${from}`),
  });
  domain.allow([keys.joinPublicKey]);
  return domain;
}

interface Parts {
  readonly socket: zmq.Router;
  readonly address: string;
  readonly maxMessageBytes: number;
  readonly log: (message: string) => void;
  readonly refused: RefusedConnections;
  readonly domain: ZapDomain | undefined;
}

class RouterServer implements ControlServer {
  readonly address: string;
  readonly #parts: Parts;
  readonly #socket: zmq.Router;
  #malformed = 0;
  /** Peers we have heard from and whose loss was not yet reported. */
  readonly #peers = new Set<string>();
  #onPeerGone: (peer: string, reason: string) => void = () => {};
  #listening = false;
  /** In units of `probeEveryMs`. */
  readonly #probesDue = new Set<number>();
  readonly #monitor: Promise<void>;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#socket = parts.socket;
    this.address = parts.address;
    this.#monitor = monitorLoop(this.#socket, (event) => {
      parts.refused.watch(event);
      if (event.type !== 'disconnect') return;
      for (const delayMs of probeDelaysMs) this.#probeAfter(delayMs);
    });
  }

  #probeAfter(delayMs: number): void {
    const nowMs = performance.now();
    const turn = Math.ceil((nowMs + delayMs) / probeEveryMs);
    if (this.#probesDue.has(turn)) return;
    this.#probesDue.add(turn);
    const probe = () => {
      this.#probesDue.delete(turn);
      this.#probe();
    };
    setTimeout(probe, turn * probeEveryMs - nowMs).unref();
  }

  get dropped(): number {
    return this.#malformed + this.#parts.refused.count;
  }

  send(peer: string, message: Uint8Array, payload?: Uint8Array): void {
    const frames = payload ? [message, payload] : [message];
    checkSize(this.#parts.maxMessageBytes, frames);
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
        this.#malformed++;
        this.#parts.log(
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
    this.#parts.domain?.close();
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
