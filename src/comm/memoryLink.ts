/**
 * The links of `link.ts` inside one thread, for `--single-process`, tests and debugging. What a wire does is kept: delivery
 * is asynchronous and in order, payloads are copied, bounds hold, a closed end is noticed. Not for several threads.
 */
import { invariant, PeerError, UserError } from '../base/errors.ts';
import {
  type ControlClient,
  type ControlServer,
  defaultLinkOptions,
  isPeerId,
  type LinkOptions,
  type RingLink,
  ringHeaderBytes,
  type Transport,
} from './link.ts';

/** When a queued delivery runs. A test may pass a scheduler of its own that picks the order between links. */
export type Schedule = (deliver: () => void) => void;

/** Deliveries of one direction, one at a time and in order; a delivery may ask to wait. */
class Channel {
  readonly #schedule: Schedule;
  readonly #queue: (() => Promise<void> | undefined)[] = [];
  #running = false;
  #closed = false;

  constructor(schedule: Schedule) {
    this.#schedule = schedule;
  }

  push(deliver: () => Promise<void> | undefined): void {
    if (this.#closed) return;
    this.#queue.push(deliver);
    this.#arm();
  }

  close(): void {
    this.#closed = true;
    this.#queue.length = 0;
  }

  #arm(): void {
    if (this.#running || this.#queue.length === 0) return;
    this.#running = true;
    this.#schedule(() => {
      const waiting = this.#closed ? undefined : this.#queue.shift()?.();
      const resume = () => {
        this.#running = false;
        this.#arm();
      };
      if (waiting) waiting.then(resume, resume);
      else resume();
    });
  }
}

/** A listener that may be set later than the first delivery comes: deliveries wait for it, as bytes in a socket do. */
class Receiver<A extends unknown[]> {
  #listener: ((...args: A) => Promise<void> | undefined) | undefined;
  #onSet: () => void = () => {};
  readonly #set = new Promise<void>((resolve) => {
    this.#onSet = resolve;
  });

  set(listener: (...args: A) => Promise<void> | undefined): void {
    this.#listener = listener;
    this.#onSet();
  }

  deliver(...args: A): Promise<void> | undefined {
    return this.#listener ? this.#listener(...args) : this.#set.then(() => this.#listener?.(...args));
  }
}

interface ServerEnd extends ControlServer {
  accept(client: ClientEnd): void;
  receive(peer: string, message: Uint8Array, payload?: Uint8Array): Promise<void> | undefined;
  drop(peer: string): void;
}

interface ClientEnd extends ControlClient {
  readonly peerId: string;
  receive(message: Uint8Array, payload?: Uint8Array): Promise<void> | undefined;
  serverGone(): void;
}

/** Addresses are `memory://NAME`; `memory://0` in `listen` gives a new one. Links of different transports never meet. */
export function memoryTransport(
  options: Partial<LinkOptions> = {},
  schedule: Schedule = (deliver) => void setImmediate(deliver),
): Transport {
  const settings = { ...defaultLinkOptions, ...options };
  const hub: Hub = { settings, schedule, servers: new Map(), rings: new Map(), nextId: 1 };
  return {
    async listen(address) {
      if (!/^memory:\/\/\w+$/.test(address)) {
        throw new UserError(`expected an address like memory://0, received "${address}".`);
      }
      const name = address === 'memory://0' ? `memory://${hub.nextId++}` : address;
      if (hub.servers.has(name)) throw new UserError(`the address ${name} is in use in this process: choose another.`);
      const server = makeServer(hub, name);
      hub.servers.set(name, server);
      return server;
    },
    async connect(address, peerId) {
      if (!isPeerId(peerId))
        throw new UserError(`expected a peer id of up to 64 letters and digits, received "${peerId}".`);
      const server = hub.servers.get(address);
      if (!server) throw new PeerError(`nobody listens on ${address}: start the coordinator first.`);
      const client = makeClient(hub, server, peerId);
      server.accept(client);
      return client;
    },
    openRing: async () => makeRing(hub, `memory://ring-${hub.nextId++}`),
  };
}

interface Hub {
  readonly settings: LinkOptions;
  readonly schedule: Schedule;
  readonly servers: Map<string, ServerEnd>;
  readonly rings: Map<string, RingEnd>;
  nextId: number;
}

function checkSize(settings: LinkOptions, ...frames: (Uint8Array | undefined)[]): void {
  for (const frame of frames) {
    if (frame && frame.byteLength > settings.maxMessageBytes) {
      throw new PeerError(`a message of ${frame.byteLength} bytes is above the limit of ${settings.maxMessageBytes}.`);
    }
  }
}

function makeServer(hub: Hub, address: string): ServerEnd {
  const clients = new Map<string, { end: ClientEnd; out: Channel; heard: boolean }>();
  const inbox = new Receiver<[string, Uint8Array, Uint8Array?]>();
  let onPeerGone: Parameters<ControlServer['onPeerGone']>[0] = () => {};
  let closed = false;
  return {
    address,
    dropped: 0,
    onMessage: (listener) => inbox.set((...args) => void (closed || listener(...args))),
    onPeerGone: (listener) => {
      onPeerGone = listener;
    },
    send(peer, message, payload) {
      checkSize(hub.settings, message, payload);
      const client = clients.get(peer);
      if (!client) {
        hub.schedule(() => closed || onPeerGone(peer, 'its connection is closed'));
        return;
      }
      const copy = new Uint8Array(message);
      const payloadCopy = payload && new Uint8Array(payload);
      client.out.push(() => client.end.receive(copy, payloadCopy));
    },
    accept(end) {
      clients.set(end.peerId, { end, out: new Channel(hub.schedule), heard: false });
    },
    receive(peer, message, payload) {
      const client = clients.get(peer);
      if (closed || !client) return undefined;
      client.heard = true;
      return inbox.deliver(peer, message, payload);
    },
    drop(peer) {
      const client = clients.get(peer);
      clients.delete(peer);
      client?.out.close();
      if (client?.heard && !closed) onPeerGone(peer, 'its connection is closed');
    },
    async close() {
      if (closed) return;
      closed = true;
      hub.servers.delete(address);
      // Queued behind what was sent before, as the closing of a socket is.
      for (const { end, out } of clients.values()) out.push(() => void end.serverGone());
      clients.clear();
    },
  };
}

function makeClient(hub: Hub, server: ServerEnd, peerId: string): ClientEnd {
  const out = new Channel(hub.schedule);
  const inbox = new Receiver<[Uint8Array, Uint8Array?]>();
  let onServerGone: Parameters<ControlClient['onServerGone']>[0] = () => {};
  let open = true;
  return {
    peerId,
    send(message, payload) {
      checkSize(hub.settings, message, payload);
      if (!open) return;
      const copy = new Uint8Array(message);
      const payloadCopy = payload && new Uint8Array(payload);
      out.push(() => server.receive(peerId, copy, payloadCopy));
    },
    onMessage: (listener) => inbox.set((...args) => void (open && listener(...args))),
    onServerGone: (listener) => {
      onServerGone = listener;
    },
    receive: (message, payload) => inbox.deliver(message, payload),
    serverGone() {
      if (!open) return;
      open = false;
      onServerGone('its connection is closed');
    },
    async close() {
      if (!open) return;
      open = false;
      out.push(() => void server.drop(peerId));
    },
  };
}

interface RingEnd extends RingLink {
  receive(header: Uint8Array, payload: Uint8Array): Promise<void> | undefined;
  /** Resolves senders' interest in this end: called back once when it closes. */
  watch(gone: () => void): () => void;
}

function makeRing(hub: Hub, address: string): RingEnd {
  const watchers = new Set<() => void>();
  const inbox = new Receiver<[Uint8Array, Uint8Array]>();
  let onNextGone: Parameters<RingLink['onNextGone']>[0] = () => {};
  let next: { end: RingEnd; out: Channel; unwatch: () => void } | undefined;
  let closed = false;
  const disconnect = () => {
    next?.unwatch();
    next?.out.close();
    next = undefined;
  };
  const lost = (reason: string) => {
    disconnect();
    hub.schedule(() => closed || onNextGone(reason));
  };
  const ring: RingEnd = {
    address,
    unreached: undefined,
    dropped: 0,
    connect(nextAddress) {
      disconnect();
      const end = hub.rings.get(nextAddress);
      if (!end) return lost(`nobody listens on ${nextAddress}`);
      next = { end, out: new Channel(hub.schedule), unwatch: end.watch(() => lost('its connection is closed')) };
    },
    send(header, payload) {
      invariant(header.byteLength === ringHeaderBytes, `a ring header has ${ringHeaderBytes} bytes`);
      checkSize(hub.settings, payload);
      const headerCopy = new Uint8Array(header);
      const to = next?.end;
      // The payload is copied on delivery, not now: as late as a wire may read it, so that a ring which overwrites a
      // segment too early fails in tests with this link as well.
      next?.out.push(() => to?.receive(headerCopy, new Uint8Array(payload)));
    },
    onFrame: (listener) => inbox.set((header, payload) => (closed ? undefined : listener(header, payload))),
    onNextGone: (listener) => {
      onNextGone = listener;
    },
    disconnect,
    receive: (header, payload) => inbox.deliver(header, payload),
    watch(gone) {
      watchers.add(gone);
      return () => watchers.delete(gone);
    },
    async close() {
      if (closed) return;
      closed = true;
      disconnect();
      hub.rings.delete(address);
      for (const gone of [...watchers]) gone();
    },
  };
  hub.rings.set(address, ring);
  return ring;
}
