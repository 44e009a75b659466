/**
 * The agent of a host: it has one connection to the coordinator for all workers that the process started, and puts what they send at almost
 * the same time into one envelope (comm/hostEnvelope.ts). Each worker still has a connection of its own to it, so terms, fences and joins are as
 * without it. Rationale: docs/decisions/host-agent.md.
 *
 * It only saves messages: a worker that it cannot connect, because the coordinator does not answer envelopes, connects by itself.
 */
import { type Clock, systemClock } from '../base/clock.ts';
import { PeerError } from '../base/errors.ts';
import { decodeEnvelope, type EnvelopeMessage, encodeEnvelope, isEnvelope } from '../comm/hostEnvelope.ts';
import { decodeShares } from '../comm/hostShares.ts';
import type { ControlClient, Transport } from '../comm/link.ts';
import { HostOutbox } from './hostOutbox.ts';

/** The number of workers from which on a host has an agent. With fewer, the way over the agent costs them more than it saves. */
export const agentWorkersMin = 4;

/** How long the coordinator may take to say that it knows envelopes. */
const answerMs = 3_000;

/** Why a worker must connect by itself. */
export class NoAgent extends Error {
  override readonly name = 'NoAgent';
}

export interface HostAgentOptions {
  readonly transport: Transport;
  readonly coordinatorAddress: string;
  /** Unique among the agents of the run: letters, digits, `.`, `_`, `-`, at most 40. */
  readonly name: string;
  readonly clock?: Clock;
}

interface Upstream {
  readonly control: ControlClient;
  readonly outbox: HostOutbox;
  readonly workers: Map<string, WorkerConnection>;
  isLost: boolean;
}

export class HostAgent {
  readonly #options: HostAgentOptions;
  readonly #clock: Clock;
  #connections = 0;
  #upstream: Promise<Upstream> | undefined;

  constructor(options: HostAgentOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /**
   * A worker's connection to the coordinator.
   * @throws as `connect` of a transport; NoAgent if the worker must connect by itself
   */
  async connect(peerId: string, timeoutMs?: number): Promise<ControlClient> {
    this.#upstream ??= this.#open(timeoutMs);
    const attempt = this.#upstream;
    let upstream: Upstream;
    try {
      upstream = await attempt;
    } catch (error) {
      if (this.#upstream === attempt) this.#upstream = undefined;
      throw error;
    }
    if (upstream.isLost) throw new PeerError('the connection of this host was lost');
    if (upstream.workers.has(peerId)) throw new PeerError(`${peerId} is connected already`);
    return new WorkerConnection(peerId, upstream.workers, upstream.outbox);
  }

  /** Closes all connections; what waits is sent. */
  async close(): Promise<void> {
    const upstream = await this.#upstream?.catch(() => undefined);
    this.#upstream = undefined;
    if (upstream === undefined) return;
    upstream.outbox.flush();
    await upstream.control.close();
  }

  async #open(timeoutMs?: number): Promise<Upstream> {
    const { transport, coordinatorAddress, name } = this.#options;
    // As for workers, each connection has its own name.
    const control = await transport.connect(coordinatorAddress, `${name}.${++this.#connections}`, timeoutMs);
    const outbox = new HostOutbox(control, this.#clock);
    const upstream: Upstream = { control, outbox, workers: new Map(), isLost: false };
    const answered = new Promise<void>((resolve, reject) => {
      const cancel = this.#clock.after(answerMs, () => {
        reject(new NoAgent('the coordinator does not answer envelopes'));
      });
      control.onMessage((frame, payload) => {
        cancel();
        resolve();
        this.#receive(upstream, frame, payload);
      });
      control.onServerGone((reason) => {
        cancel();
        reject(new PeerError(`the connection of this host is lost: ${reason}`));
        this.#lost(upstream, reason);
      });
    });
    control.send(encodeEnvelope([]).frame);
    try {
      await answered;
    } catch (error) {
      await control.close();
      throw error;
    }
    return upstream;
  }

  #receive(upstream: Upstream, frame: Uint8Array, payload: Uint8Array | undefined): void {
    if (!isEnvelope(frame)) return; // for no worker
    let messages: EnvelopeMessage[];
    try {
      messages = decodeEnvelope(frame, payload).flatMap(ofEachWorker);
    } catch {
      // Something is missing now: the workers join again, and are told what they lack.
      this.#lost(upstream, 'it sends malformed envelopes');
      return;
    }
    for (const { peers, message, payload: own } of messages) {
      for (const peer of peers) if (message !== undefined) upstream.workers.get(peer)?.receive(message, own);
    }
  }

  #lost(upstream: Upstream, reason: string): void {
    if (upstream.isLost) return;
    upstream.isLost = true;
    upstream.outbox.drop();
    this.#upstream = undefined;
    void upstream.control.close();
    for (const worker of [...upstream.workers.values()]) worker.serverGone(reason);
  }
}

/** Samples of several workers are divided; another message for several is the same for each. */
function ofEachWorker(envelope: EnvelopeMessage): EnvelopeMessage[] {
  const { peers, message, payload } = envelope;
  if (peers.length < 2 || message === undefined || payload === undefined) return [envelope];
  return decodeShares(message, payload, peers.length).map((share, i) => ({ peers: [peers[i]!], ...share }));
}

/** One worker's connection, over the agent's. */
class WorkerConnection implements ControlClient {
  readonly #peer: string;
  readonly #workers: Map<string, WorkerConnection>;
  readonly #outbox: HostOutbox;
  #onMessage: ((message: Uint8Array, payload?: Uint8Array) => void) | undefined;
  #onServerGone: (reason: string) => void = () => {};

  constructor(peer: string, workers: Map<string, WorkerConnection>, outbox: HostOutbox) {
    this.#peer = peer;
    this.#workers = workers;
    this.#outbox = outbox;
    workers.set(peer, this);
  }

  get #isOpen(): boolean {
    return this.#workers.get(this.#peer) === this;
  }

  send(message: Uint8Array, payload?: Uint8Array): void {
    if (this.#isOpen) this.#outbox.add(this.#peer, message, payload);
  }

  onMessage(listener: (message: Uint8Array, payload?: Uint8Array) => void): void {
    this.#onMessage = listener;
  }

  onServerGone(listener: (reason: string) => void): void {
    this.#onServerGone = listener;
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#workers.delete(this.#peer);
    this.#outbox.close(this.#peer);
  }

  receive(message: Uint8Array, payload: Uint8Array | undefined): void {
    if (this.#isOpen) this.#onMessage?.(message, payload);
  }

  serverGone(reason: string): void {
    if (!this.#isOpen) return;
    this.#workers.delete(this.#peer);
    this.#onServerGone(reason);
  }
}
