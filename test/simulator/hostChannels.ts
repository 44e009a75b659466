/** The channel between a forked process and the one that forked it, as worker/processChannel.ts: nothing is lost on it but with a process. */
import type { FromHost, HostChannel, ToHost } from '../../src/worker/hostChannel.ts';
import type { SimProcess, World } from './world.ts';

class End<In, Out> implements HostChannel<In, Out> {
  readonly #world: World;
  readonly #other: SimProcess;
  #lastMs = 0;
  #listener: (message: In) => void = () => {};
  readonly #closed: (() => void)[] = [];
  /** Receives what this end sends. */
  peer: End<Out, In> | undefined;

  constructor(world: World, other: SimProcess) {
    this.#world = world;
    this.#other = other;
    const { random } = world;
    other.onDeath.push(() => {
      // What it has sent is read first.
      const delayMs = Math.max(0, (this.peer?.lastMs ?? 0) - world.nowMs) + random.between(0.1, 10);
      world.schedule(delayMs, () => this.#close(), this.peerProcess);
    });
  }

  /** The process of this end. */
  peerProcess: SimProcess | undefined;

  get lastMs(): number {
    return this.#lastMs;
  }

  async send(message: Out): Promise<void> {
    const { random, nowMs } = this.#world;
    const delayMs = random.between(0.02, 0.5) * this.#other.slowness;
    this.#lastMs = Math.max(this.#lastMs, nowMs + delayMs);
    const { peer } = this;
    const copy = structuredClone(message);
    this.#world.scheduleAt(this.#lastMs, () => peer?.deliver(copy), this.#other);
  }

  onMessage(listener: (message: In) => void): void {
    this.#listener = listener;
  }

  onClosed(listener: () => void): void {
    this.#closed.push(listener);
  }

  deliver(message: In): void {
    this.#listener(message);
  }

  #close(): void {
    for (const told of this.#closed) told();
  }
}

/** The worker's end, and its agent's. */
export function channelBetween(worker: SimProcess, agent: SimProcess) {
  const ofWorker = new End<FromHost, ToHost>(worker.world, agent);
  const ofAgent = new End<ToHost, FromHost>(worker.world, worker);
  [ofWorker.peer, ofWorker.peerProcess] = [ofAgent, worker];
  [ofAgent.peer, ofAgent.peerProcess] = [ofWorker, agent];
  return { ofWorker, ofAgent };
}
