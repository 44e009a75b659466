/**
 * The coordinator's end of envelopes (hostEnvelope.ts): a control server whose peers have connections of their own, or share that of their
 * host's agent. Its user sees no difference: every worker is a peer, with its own id.
 *
 * What is sent to the workers of one host while one decision is carried out goes into few envelopes: messages that are the same for several workers, such as
 * `commit`, are in it once. They leave before messages with a payload, which take longer to make, except the samples that are made for a host at once.
 */
import { messageOf } from '../base/errors.ts';
import {
  decodeEnvelope,
  type EnvelopeMessage,
  encodeEnvelope,
  hostPeersMax,
  isEnvelope,
  PeerLists,
} from './hostEnvelope.ts';
import type { ControlServer } from './link.ts';

/** Payloads that wait for others; from this size on they are sent at once. */
const payloadBytesMost = 1 << 20;

interface Waiting {
  readonly peers: string[];
  readonly message: Uint8Array;
  readonly payload: Uint8Array | undefined;
}

interface Host {
  /** Its workers with a connection. */
  readonly peers: Set<string>;
  /** Lists of several of these, each named once, that were checked. What keeps them is {@link PeerLists}. */
  ownLists: WeakSet<readonly string[]>;
  readonly waiting: Waiting[];
  payloadBytes: number;
}

export class HostServer implements ControlServer {
  readonly #server: ControlServer;
  /** By the peer id of the agent. */
  readonly #hosts = new Map<string, Host>();
  /** The agent of each worker that has one. */
  readonly #agentOf = new Map<string, string>();
  /** Peers with a connection of their own: no agent can speak for them. */
  readonly #direct = new Set<string>();
  readonly #lists = new PeerLists();
  #dropped = 0;
  #isFlushDue = false;
  /** Whether messages without a payload wait. */
  #hasPlain = false;
  #onMessage: (peer: string, message: Uint8Array, payload?: Uint8Array) => void = () => {};
  #onReports: (peers: readonly string[], message: Uint8Array) => void = () => {};
  #onPeerGone: (peer: string, reason: string) => void = () => {};

  /** @param server the caller closes it */
  constructor(server: ControlServer) {
    this.#server = server;
  }

  get address(): string {
    return this.#server.address;
  }

  get dropped(): number {
    return this.#server.dropped + this.#dropped;
  }

  send(peer: string, message: Uint8Array, payload?: Uint8Array): void {
    const agent = this.#agentOf.get(peer);
    const host = agent === undefined ? undefined : this.#hosts.get(agent);
    if (host === undefined) {
      this.#server.send(peer, message, payload);
      return;
    }
    if (payload === undefined) this.#hasPlain = true;
    else if (this.#hasPlain) this.#flush();
    const last = host.waiting.at(-1);
    if (last !== undefined && payload === undefined && last.payload === undefined && isSame(last.message, message)) {
      last.peers.push(peer);
    } else this.#wait(host, { peers: [peer], message, payload });
  }

  #wait(host: Host, waiting: Waiting): void {
    host.waiting.push(waiting);
    host.payloadBytes += waiting.payload?.byteLength ?? 0;
    if (host.payloadBytes >= payloadBytesMost) this.#flush();
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => this.#flushLate());
  }

  /** The agent that the worker shares a connection with; undefined for a worker with one of its own. */
  agentOf(peer: string): string | undefined {
    return this.#agentOf.get(peer);
  }

  /** Sends workers of one agent their samples (hostShares.ts), in the envelope with what waits for them. */
  sendShares(agent: string, peers: readonly string[], message: Uint8Array, payload: Uint8Array): void {
    const host = this.#hosts.get(agent);
    if (host !== undefined) this.#wait(host, { peers: [...peers], message, payload });
  }

  onMessage(listener: (peer: string, message: Uint8Array, payload?: Uint8Array) => void): void {
    this.#onMessage = listener;
    this.#server.onMessage((peer, message, payload) => this.#receive(peer, message, payload));
  }

  /** Messages of several workers of a host (hostReports.ts), each named once. */
  onReports(listener: (peers: readonly string[], message: Uint8Array) => void): void {
    this.#onReports = listener;
  }

  onPeerGone(listener: (peer: string, reason: string) => void): void {
    this.#onPeerGone = listener;
    this.#server.onPeerGone((peer, reason) => this.#lost(peer, reason));
  }

  async close(): Promise<void> {
    this.#flush();
    await this.#server.close();
  }

  #receive(peer: string, message: Uint8Array, payload: Uint8Array | undefined): void {
    if (!isEnvelope(message)) {
      // The id belongs to the worker that said so first.
      if (this.#agentOf.has(peer)) this.#dropped++;
      else {
        this.#direct.add(peer);
        this.#onMessage(peer, message, payload);
      }
      return;
    }
    let list: EnvelopeMessage[];
    try {
      list = decodeEnvelope(message, payload, this.#lists);
    } catch {
      this.#dropped++;
      return;
    }
    const host = this.#hosts.get(peer) ?? { peers: new Set(), ownLists: new WeakSet(), waiting: [], payloadBytes: 0 };
    this.#hosts.set(peer, host);
    if (list.length === 0) this.#server.send(peer, encodeEnvelope([]).frame);
    for (const item of list) this.#open(peer, host, item);
  }

  #open(agent: string, host: Host, { peers, message, payload }: EnvelopeMessage): void {
    const [peer = ''] = peers;
    if (message === undefined) {
      // It may have been closed without a message.
      if (peers.length === 1 && this.#agentOf.get(peer) === agent) this.#close(peer, host);
      return;
    }
    if (payload === undefined && host.ownLists.has(peers)) {
      this.#onReports(peers, message);
      return;
    }
    const isOfSeveral = peers.length > 1;
    const isFit = !isOfSeveral || (payload === undefined && new Set(peers).size === peers.length);
    const strangers = peers.filter((worker) => this.#agentOf.get(worker) !== agent);
    const areFree = strangers.every((worker) => !this.#agentOf.has(worker) && !this.#direct.has(worker));
    if (!isFit || !areFree || host.peers.size + strangers.length > hostPeersMax) {
      this.#dropped++;
      return;
    }
    for (const worker of strangers) {
      this.#agentOf.set(worker, agent);
      host.peers.add(worker);
    }
    if (isOfSeveral) {
      host.ownLists.add(peers);
      this.#onReports(peers, message);
    } else this.#onMessage(peer, message, payload);
  }

  #close(peer: string, host: Host): void {
    this.#agentOf.delete(peer);
    host.peers.delete(peer);
    host.ownLists = new WeakSet();
    this.#onPeerGone(peer, 'its connection is closed');
  }

  #lost(peer: string, reason: string): void {
    const host = this.#hosts.get(peer);
    if (host === undefined) {
      this.#direct.delete(peer);
      this.#onPeerGone(peer, reason);
      return;
    }
    this.#hosts.delete(peer);
    for (const worker of host.peers) this.#agentOf.delete(worker);
    for (const worker of host.peers) this.#onPeerGone(worker, `the connection of its host is lost: ${reason}`);
  }

  #flush(): void {
    this.#hasPlain = false;
    for (const [agent, host] of this.#hosts) this.#flushHost(agent, host);
  }

  /** Without a caller that could be told of a failure, which is the loss of that host's workers. */
  #flushLate(): void {
    this.#isFlushDue = false;
    this.#hasPlain = false;
    for (const [agent, host] of [...this.#hosts]) {
      try {
        this.#flushHost(agent, host);
      } catch (error) {
        this.#lost(agent, messageOf(error));
      }
    }
  }

  #flushHost(agent: string, host: Host): void {
    if (host.waiting.length === 0) return;
    const { frame, payload } = encodeEnvelope(host.waiting.splice(0));
    host.payloadBytes = 0;
    this.#server.send(agent, frame, payload);
  }
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return one === other || (one.byteLength === other.byteLength && Buffer.compare(one, other) === 0);
}
