/**
 * A network of TCP-like connections behind the interfaces of comm/link.ts: what one connection carries arrives complete and in
 * order, after delays that differ; between connections nothing is ordered. A connection that is cut loses what is under way, and
 * each end learns of it late. Between hosts that are partitioned nothing arrives, and nobody learns of it, until they are not.
 */
import { PeerError } from '../../src/base/errors.ts';
import type { ControlClient, ControlServer, RingLink, Transport } from '../../src/comm/link.ts';
import type { SimProcess, World } from './world.ts';

interface Host {
  readonly process: SimProcess;
  readonly listen: (connection: Connection, peerId: string) => void;
}

interface End {
  readonly process: SimProcess;
  deliver: (...frames: Uint8Array[]) => Promise<void> | undefined;
  lost: (reason: string) => void;
}

interface Waiting {
  readonly frames: () => Uint8Array[];
}

/** One direction of a connection. */
class Stream {
  readonly #queue: Waiting[] = [];
  #lastMs = 0;
  #isPaused = false;
  readonly #network: Network;
  readonly #connection: Connection;
  readonly #from: SimProcess;
  readonly #to: End;

  constructor(network: Network, connection: Connection, from: SimProcess, to: End) {
    this.#network = network;
    this.#connection = connection;
    this.#from = from;
    this.#to = to;
  }

  send(frames: () => Uint8Array[]): void {
    this.#queue.push({ frames });
    this.#arm();
  }

  #arm(): void {
    const { world } = this.#network;
    const atMs = Math.max(this.#lastMs, world.nowMs + this.#network.delayMs(this.#from, this.#to.process));
    this.#lastMs = atMs;
    world.scheduleAt(atMs, () => this.#arrive(), this.#to.process);
  }

  #arrive(): void {
    if (this.#connection.isCut) return;
    if (this.#network.isParted(this.#from, this.#to.process)) {
      this.#network.whenHealed(() => this.#arm(), this.#to.process);
      return;
    }
    if (this.#isPaused) return;
    const next = this.#queue.shift();
    if (next === undefined) return;
    const waiting = this.#to.deliver(...next.frames());
    if (waiting === undefined) return;
    this.#isPaused = true;
    const resume = () => {
      this.#isPaused = false;
      for (const _ of this.#queue) this.#arm();
    };
    waiting.then(resume, resume);
  }
}

class Connection {
  isCut = false;
  readonly ends: readonly [End, End];
  readonly streams: readonly [Stream, Stream];
  readonly #network: Network;

  constructor(network: Network, a: End, b: End) {
    this.#network = network;
    this.ends = [a, b];
    this.streams = [new Stream(network, this, a.process, b), new Stream(network, this, b.process, a)];
  }

  /** Both ends learn of it, each in its own time, but for one that wanted it. */
  cut(reason: string, knows?: SimProcess): void {
    if (this.isCut) return;
    this.isCut = true;
    this.#network.connections.delete(this);
    const [a, b] = this.ends;
    for (const end of this.ends) if (end.process !== knows) this.#tell(end, end === a ? b : a, reason);
  }

  #tell(end: End, other: End, reason: string): void {
    const { world, random } = this.#network;
    const tell = () => {
      // A reset does not get through either.
      if (this.#network.isParted(end.process, other.process)) this.#network.whenHealed(tell, end.process);
      else end.lost(reason);
    };
    world.schedule(random.chance(0.2) ? random.between(50, 900) : random.between(1, 20), tell, end.process);
  }
}

export class Network {
  readonly world: World;
  readonly connections = new Set<Connection>();
  readonly servers = new Map<string, Host>();
  readonly rings = new Map<string, Host>();
  /** Hosts apart from the others. */
  readonly #apart = new Set<string>();
  #whenHealed: { readonly run: () => void; readonly process: SimProcess }[] = [];
  #nextRing = 1;

  constructor(world: World) {
    this.world = world;
  }

  get random() {
    return this.world.random;
  }

  delayMs(from: SimProcess, to: SimProcess): number {
    const { random } = this.world;
    const base = random.chance(0.05) ? random.between(5, 60) : random.between(0.1, 3);
    return base * from.slowness * to.slowness;
  }

  isParted(a: SimProcess, b: SimProcess): boolean {
    return a.host !== b.host && (this.#apart.has(a.host) || this.#apart.has(b.host));
  }

  whenHealed(run: () => void, process: SimProcess): void {
    this.#whenHealed.push({ run, process });
  }

  part(host: string): void {
    this.#apart.add(host);
  }

  /** @param isReset what was connected across it is lost */
  heal(host: string, isReset: boolean): void {
    this.#apart.delete(host);
    if (isReset) {
      for (const connection of [...this.connections]) {
        const [a, b] = connection.ends;
        if (a.process.host !== b.process.host && (a.process.host === host || b.process.host === host)) {
          connection.cut('the connection was reset');
        }
      }
    }
    const waiting = this.#whenHealed;
    this.#whenHealed = [];
    for (const { run, process } of waiting) this.world.schedule(0, run, process);
  }

  /** Connections of a process are gone with it. */
  watch(process: SimProcess): void {
    process.onDeath.push(() => {
      for (const connection of [...this.connections]) {
        if (connection.ends.some((end) => end.process === process)) connection.cut('its process has ended', process);
      }
      for (const map of [this.servers, this.rings]) {
        for (const [address, host] of map) if (host.process === process) map.delete(address);
      }
    });
  }

  transportOf(process: SimProcess): Transport {
    return {
      listen: async (address) => this.#listen(process, address),
      connect: (address, peerId) => this.#connect(process, address, peerId),
      openRing: async () => this.#openRing(process),
    };
  }

  join(a: End, b: End): Connection {
    const connection = new Connection(this, a, b);
    this.connections.add(connection);
    return connection;
  }

  #listen(process: SimProcess, address: string): ControlServer {
    const peers = new Map<string, { connection: Connection; heard: boolean }>();
    let onMessage: Parameters<ControlServer['onMessage']>[0] = () => {};
    let onPeerGone: Parameters<ControlServer['onPeerGone']>[0] = () => {};
    const listen = (connection: Connection, peerId: string) => {
      const peer = { connection, heard: false };
      const end = connection.ends[1];
      peers.set(peerId, peer);
      end.deliver = (message, payload) => {
        peer.heard = true;
        onMessage(peerId, message!, payload);
        return undefined;
      };
      end.lost = (reason) => {
        if (peers.get(peerId) === peer) peers.delete(peerId);
        if (peer.heard) onPeerGone(peerId, reason);
      };
    };
    this.servers.set(address, { process, listen });
    return {
      address,
      dropped: 0,
      onMessage: (listener) => {
        onMessage = listener;
      },
      onPeerGone: (listener) => {
        onPeerGone = listener;
      },
      send: (id, message, payload) => {
        const peer = peers.get(id);
        if (peer === undefined) process.after(0, () => onPeerGone(id, 'its connection is closed'));
        else peer.connection.streams[1].send(copied(message, payload));
      },
      close: async () => {
        this.servers.delete(address);
      },
    };
  }

  #connect(process: SimProcess, address: string, peerId: string): Promise<ControlClient> {
    return new Promise((resolve, reject) => {
      let triesLeft = 3;
      const attempt = () => {
        const server = this.servers.get(address);
        if (
          server !== undefined &&
          !this.isParted(process, server.process) &&
          server.process.frozenUntilMs <= this.world.nowMs
        ) {
          resolve(this.#client(process, server, peerId));
        } else if (--triesLeft > 0) process.after(this.random.between(20, 600), attempt);
        else reject(new PeerError(`nobody answers at ${address}`));
      };
      process.after(this.random.between(0.5, 10), attempt);
    });
  }

  #client(process: SimProcess, server: Host, peerId: string): ControlClient {
    let onMessage: Parameters<ControlClient['onMessage']>[0] = () => {};
    let onServerGone: Parameters<ControlClient['onServerGone']>[0] = () => {};
    let isOpen = true;
    const mine: End = {
      process,
      deliver: (message, payload) => {
        if (isOpen) onMessage(message!, payload);
        return undefined;
      },
      lost: (reason) => {
        if (isOpen) onServerGone(reason);
        isOpen = false;
      },
    };
    const connection = this.join(mine, { process: server.process, deliver: () => undefined, lost: () => {} });
    server.listen(connection, peerId);
    return {
      send: (message, payload) => {
        if (isOpen) connection.streams[0].send(copied(message, payload));
      },
      onMessage: (listener) => {
        onMessage = listener;
      },
      onServerGone: (listener) => {
        onServerGone = listener;
      },
      close: async () => {
        if (!isOpen) return;
        isOpen = false;
        // What was sent before still arrives, mostly.
        const end = () => connection.cut('its connection is closed', process);
        this.world.schedule(this.random.between(20, 120), end);
      },
    };
  }

  #openRing(process: SimProcess): RingLink {
    const address = `ring-${this.#nextRing++}`;
    let onFrame: Parameters<RingLink['onFrame']>[0] = () => undefined;
    let onNextGone: Parameters<RingLink['onNextGone']>[0] = () => {};
    let next: Connection | undefined;
    let isClosed = false;
    const listen = (connection: Connection) => {
      connection.ends[1].deliver = (header, payload) => (isClosed ? undefined : onFrame(header!, payload!));
    };
    this.rings.set(address, { process, listen });
    const disconnect = () => {
      next?.cut('its neighbour disconnected', process);
      next = undefined;
    };
    return {
      address,
      unreached: undefined,
      dropped: 0,
      connect: (to) => {
        disconnect();
        const target = this.rings.get(to);
        if (target === undefined) {
          process.after(this.random.between(1, 300), () => isClosed || onNextGone(`nobody listens on ${to}`));
          return;
        }
        const mine: End = {
          process,
          deliver: () => undefined,
          lost: (reason) => {
            if (next !== connection) return;
            next = undefined;
            if (!isClosed) onNextGone(reason);
          },
        };
        const connection = this.join(mine, { process: target.process, deliver: () => undefined, lost: () => {} });
        next = connection;
        target.listen(connection, '');
      },
      send: (header, payload) => {
        const headerCopy = new Uint8Array(header);
        // Read as late as a wire may read it.
        next?.streams[0].send(() => [headerCopy, new Uint8Array(payload)]);
      },
      onFrame: (listener) => {
        onFrame = listener;
      },
      onNextGone: (listener) => {
        onNextGone = listener;
      },
      disconnect,
      close: async () => {
        isClosed = true;
        disconnect();
        this.rings.delete(address);
      },
    };
  }
}

function copied(message: Uint8Array, payload: Uint8Array | undefined): () => Uint8Array[] {
  const frames = payload === undefined ? [new Uint8Array(message)] : [new Uint8Array(message), new Uint8Array(payload)];
  return () => frames;
}
