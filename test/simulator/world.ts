/**
 * Virtual time: events in the order of their times, one after the other, each with all that follows from it without further
 * time (promises). Everything random comes from one generator, so that a seed determines a run.
 */
import type { Clock } from '../../src/base/clock.ts';
import { mix32, type RandomKey, randomBits, randomKey } from '../../src/base/counterRandom.ts';

interface Scheduled {
  readonly atMs: number;
  readonly order: number;
  readonly process: SimProcess | undefined;
  readonly run: () => void;
}

export class Random {
  readonly #key: RandomKey;
  #index = 0;

  constructor(...words: number[]) {
    this.#key = randomKey(...words);
  }

  /** In [0, 1). */
  uniform(): number {
    return randomBits(this.#key, this.#index++) * 2 ** -32;
  }

  between(from: number, to: number): number {
    return from + (to - from) * this.uniform();
  }

  /** A whole number from `from` to `to`, both included. */
  whole(from: number, to: number): number {
    return from + Math.floor(this.uniform() * (to - from + 1));
  }

  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.whole(0, items.length - 1)]!;
  }
}

export class World {
  readonly random: Random;
  nowMs = 0;
  /** A hash of all that has happened so far. */
  traceHash = 0;
  /** The last things that happened, for a failure's report. */
  readonly recent: string[] = [];
  readonly faults: string[] = [];
  /** What was found wrong. */
  violation: string | undefined;
  events = 0;
  readonly #heap: Scheduled[] = [];
  #order = 0;

  constructor(seed: number) {
    this.random = new Random(seed, 0x73696d);
  }

  schedule(delayMs: number, run: () => void, process?: SimProcess): void {
    this.scheduleAt(this.nowMs + Math.max(0, delayMs), run, process);
  }

  scheduleAt(atMs: number, run: () => void, process?: SimProcess): void {
    this.#push({ atMs, order: this.#order++, process, run });
  }

  trace(text: string): void {
    let hash = this.traceHash ^ Math.round(this.nowMs * 1_000);
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    this.traceHash = mix32(hash);
    this.recent.push(`${this.nowMs.toFixed(1).padStart(9)} ${text}`);
    if (this.recent.length > 400) this.recent.splice(0, 200);
  }

  fault(text: string): void {
    this.faults.push(`${this.nowMs.toFixed(1).padStart(9)} ${text}`);
    this.trace(`FAULT ${text}`);
  }

  wrong(what: string): void {
    if (this.violation === undefined) this.trace(`WRONG ${what}`);
    this.violation ??= what;
  }

  /** Until `isOver`, a violation, or nothing is left to happen before `untilMs`. */
  async run(isOver: () => boolean, untilMs: number, afterEvent: () => void): Promise<void> {
    while (!isOver() && this.violation === undefined) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > untilMs) return;
      this.#pop();
      this.nowMs = Math.max(this.nowMs, next.atMs);
      const { process } = next;
      if (process?.isDead) continue;
      if (process !== undefined && process.frozenUntilMs > this.nowMs) {
        this.#push({ ...next, atMs: process.frozenUntilMs });
        continue;
      }
      this.events++;
      next.run();
      await settled();
      afterEvent();
    }
  }

  #push(item: Scheduled): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(item, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = item;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Scheduled, b: Scheduled): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** All that follows from an event by promises alone has happened. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** An operating system's process: it dies, or is frozen and finds all that has arrived when it continues. */
export class SimProcess implements Clock {
  readonly world: World;
  readonly host: string;
  readonly pid: number;
  readonly name: string;
  isDead = false;
  frozenUntilMs = 0;
  /** How many times as long everything takes. */
  slowness = 1;
  /** Told when it dies. */
  readonly onDeath: (() => void)[] = [];

  constructor(world: World, name: string, host: string, pid: number) {
    this.world = world;
    this.name = name;
    this.host = host;
    this.pid = pid;
  }

  /** For longer than it is frozen already, or not at all: what was put off to the end of that must not be overtaken. */
  freeze(untilMs: number): void {
    this.frozenUntilMs = Math.max(this.frozenUntilMs, untilMs);
  }

  now(): number {
    return this.world.nowMs;
  }

  monotonic(): number {
    return this.world.nowMs;
  }

  after(ms: number, run: () => void): () => void {
    let isCancelled = false;
    this.world.schedule(ms, () => isCancelled || run(), this);
    return () => {
      isCancelled = true;
    };
  }

  every(ms: number, run: () => void): () => void {
    let isCancelled = false;
    const next = () => {
      if (isCancelled) return;
      this.world.schedule(ms, next, this);
      run();
    };
    this.world.schedule(ms, next, this);
    return () => {
      isCancelled = true;
    };
  }

  die(): void {
    if (this.isDead) return;
    this.isDead = true;
    for (const told of this.onDeath) told();
  }
}
