/**
 * What a worker and the agent of its host (hostAgent.ts) say to each other over the channel between a process and the one that it forked: nothing
 * listens for it, and each end learns at once when the other has ended. The worker's end is a transport (`throughHost`), the agent's `serveHost`.
 */
import { type Clock, systemClock } from '../base/clock.ts';
import { messageOf, PeerError, UserError } from '../base/errors.ts';
import type { ControlClient, Transport } from '../comm/link.ts';
import { type HostAgent, NoAgent } from './hostAgent.ts';

/** About the connection with this id. Bytes are copied on the way. */
export type ToHost =
  | { readonly host: 'open'; readonly peer: string; readonly timeoutMs: number | undefined }
  | { readonly host: 'send'; readonly peer: string; readonly message: Uint8Array; readonly payload?: Uint8Array }
  | { readonly host: 'close'; readonly peer: string };

export type FromHost =
  | { readonly host: 'opened'; readonly peer: string }
  /** `alone`: the worker must connect by itself. */
  | {
      readonly host: 'failed';
      readonly peer: string;
      readonly cause: 'user' | 'peer' | 'alone';
      readonly message: string;
    }
  | { readonly host: 'receive'; readonly peer: string; readonly message: Uint8Array; readonly payload?: Uint8Array }
  | { readonly host: 'gone'; readonly peer: string; readonly reason: string };

/** One end of a channel, on which messages arrive complete and in order. */
export interface HostChannel<In, Out> {
  /** Resolves when the message is handed over, or the channel is closed. */
  send(message: Out): Promise<void>;
  onMessage(listener: (message: In) => void): void;
  /** The process at the other end has ended, or is about to. */
  onClosed(listener: () => void): void;
}

/** Whether a message between these processes is one of a channel. */
export function isOfHost(message: unknown): boolean {
  return typeof message === 'object' && message !== null && 'host' in message;
}

/** Connects a worker through the agent; when the worker's process ends, so do its connections. */
export function serveHost(agent: HostAgent, channel: HostChannel<ToHost, FromHost>): void {
  const connections = new Map<string, ControlClient>();
  let isClosed = false;
  const open = async (peer: string, timeoutMs: number | undefined): Promise<void> => {
    let client: ControlClient;
    try {
      client = await agent.connect(peer, timeoutMs);
    } catch (error) {
      const cause = error instanceof NoAgent ? 'alone' : error instanceof UserError ? 'user' : 'peer';
      void channel.send({ host: 'failed', peer, cause, message: messageOf(error) });
      return;
    }
    if (isClosed) return client.close();
    connections.set(peer, client);
    client.onMessage(
      (message, payload) => void channel.send({ host: 'receive', peer, message, ...(payload && { payload }) }),
    );
    client.onServerGone((reason) => {
      connections.delete(peer);
      void channel.send({ host: 'gone', peer, reason });
    });
    void channel.send({ host: 'opened', peer });
  };
  channel.onMessage((message) => {
    const { peer } = message;
    if (message.host === 'open') void open(peer, message.timeoutMs);
    else if (message.host === 'send') connections.get(peer)?.send(message.message, message.payload);
    else {
      void connections.get(peer)?.close();
      connections.delete(peer);
    }
  });
  channel.onClosed(() => {
    isClosed = true;
    for (const client of connections.values()) void client.close();
    connections.clear();
  });
}

/** How much longer than a connection may take the agent may take to tell of it, before the worker connects by itself. */
const patienceMs = 5_000;
const connectMs = 10_000;

/** A transport that connects through the agent of this host for as long as there is one, and otherwise as `direct`. */
export function throughHost(
  direct: Transport,
  channel: HostChannel<FromHost, ToHost>,
  clock: Clock = systemClock,
): Transport {
  const clients = new Map<string, AgentClient>();
  let isClosed = false;
  channel.onMessage((message) => clients.get(message.peer)?.told(message));
  channel.onClosed(() => {
    isClosed = true;
    for (const client of [...clients.values()]) client.lost('the agent of this host has ended');
    clients.clear();
  });
  return {
    ...direct,
    async connect(address, peerId, timeoutMs) {
      if (!isClosed) {
        const client = new AgentClient(peerId, channel, () => clients.delete(peerId));
        clients.set(peerId, client);
        if (await client.opened(timeoutMs, clock)) return client;
      }
      return await direct.connect(address, peerId, timeoutMs);
    },
  };
}

class AgentClient implements ControlClient {
  readonly #peer: string;
  readonly #channel: HostChannel<FromHost, ToHost>;
  readonly #forget: () => void;
  #onMessage: ((message: Uint8Array, payload?: Uint8Array) => void) | undefined;
  #onServerGone: ((reason: string) => void) | undefined;
  #goneReason: string | undefined;
  #settle: { readonly resolve: (isOpen: boolean) => void; readonly reject: (error: Error) => void } | undefined;
  #isClosed = false;

  constructor(peer: string, channel: HostChannel<FromHost, ToHost>, forget: () => void) {
    this.#peer = peer;
    this.#channel = channel;
    this.#forget = forget;
  }

  /** Whether the agent has connected it; if not, the worker must connect by itself. @throws what the agent's attempt threw */
  async opened(timeoutMs: number | undefined, clock: Clock): Promise<boolean> {
    void this.#channel.send({ host: 'open', peer: this.#peer, timeoutMs });
    const cancel = clock.after((timeoutMs ?? connectMs) + patienceMs, () => {
      void this.close();
      this.#settle?.resolve(false);
    });
    try {
      return await new Promise<boolean>((resolve, reject) => {
        this.#settle = { resolve, reject };
      });
    } finally {
      this.#settle = undefined;
      cancel();
    }
  }

  send(message: Uint8Array, payload?: Uint8Array): void {
    if (this.#isClosed) return;
    void this.#channel.send({ host: 'send', peer: this.#peer, message, ...(payload && { payload }) });
  }

  onMessage(listener: (message: Uint8Array, payload?: Uint8Array) => void): void {
    this.#onMessage = listener;
  }

  onServerGone(listener: (reason: string) => void): void {
    this.#onServerGone = listener;
    if (this.#goneReason !== undefined) listener(this.#goneReason);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#forget();
    await this.#channel.send({ host: 'close', peer: this.#peer });
  }

  told(message: FromHost): void {
    if (message.host === 'opened') this.#settle?.resolve(true);
    else if (message.host === 'receive') this.#onMessage?.(message.message, message.payload);
    else if (message.host === 'gone') this.lost(message.reason);
    else {
      this.#isClosed = true;
      this.#forget();
      if (message.cause === 'alone') this.#settle?.resolve(false);
      else this.#settle?.reject(new (message.cause === 'user' ? UserError : PeerError)(message.message));
    }
  }

  lost(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#goneReason = reason;
    this.#forget();
    this.#settle?.resolve(false);
    this.#onServerGone?.(reason);
  }
}
