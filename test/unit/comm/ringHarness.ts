/** Rings over in-memory links for the tests, and a scheduler that delivers their frames in a seeded random order. */
import { type RandomKey, randomBits, randomKey } from '../../../src/base/counterRandom.ts';
import type { Bucket } from '../../../src/comm/buckets.ts';
import type { RingLink, Transport } from '../../../src/comm/link.ts';
import { memoryTransport, type Schedule } from '../../../src/comm/memoryLink.ts';
import { RingAllReduce, type RingOptions } from '../../../src/comm/ring.ts';

const addInto = (dst: Float32Array, src: Float32Array) => {
  for (let i = 0; i < dst.length; i++) dst[i]! += src[i]!;
};

export class Random {
  readonly #key: RandomKey;
  #index = 0;
  constructor(...seed: number[]) {
    this.#key = randomKey(...seed);
  }
  /** An integer in [0, bound). */
  below(bound: number): number {
    return randomBits(this.#key, this.#index++) % bound;
  }
  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [result[i], result[j]] = [result[j]!, result[i]!];
    }
    return result;
  }
}

/** Holds every delivery until `run`, which runs them one by one in an order that the seed decides. */
export class SeededScheduler {
  readonly #random: Random;
  readonly #pending: (() => void)[] = [];
  readonly schedule: Schedule = (deliver) => void this.#pending.push(deliver);
  constructor(random: Random) {
    this.#random = random;
  }
  get pending(): number {
    return this.#pending.length;
  }
  step(): boolean {
    if (this.#pending.length === 0) return false;
    const [deliver] = this.#pending.splice(this.#random.below(this.#pending.length), 1);
    deliver!();
    return true;
  }
}

export interface Member {
  link: RingLink;
  ring: RingAllReduce;
  data: Float32Array;
  logged: string[];
}

export async function openMembers(
  worldSize: number,
  options: Partial<RingOptions> = {},
  transport: Transport = memoryTransport(),
  host = 'memory',
): Promise<Member[]> {
  return await Promise.all(
    Array.from({ length: worldSize }, async () => {
      const link = await transport.openRing(host);
      const logged: string[] = [];
      const ring = new RingAllReduce({
        link,
        reduce: addInto,
        chunkBytes: 64,
        stepTimeoutMs: 5000,
        log: (message) => logged.push(message),
        ...options,
      });
      return { link, ring, data: new Float32Array(0), logged };
    }),
  );
}

export function formAll(members: readonly Member[], term: number): void {
  const worldSize = members.length;
  for (const [rank, { ring }] of members.entries()) {
    const { address: next } = members[(rank + 1) % worldSize]!.link;
    const { address: previous } = members[(rank + worldSize - 1) % worldSize]!.link;
    ring.form({ term, rank, worldSize, next, previous });
  }
}

/** Gives each rank new random data and returns the sum over the ranks in float64. */
export function fillAll(members: readonly Member[], length: number, random: Random): Float64Array {
  const sum = new Float64Array(length);
  for (const member of members) {
    member.data = new Float32Array(new SharedArrayBuffer(length * 4));
    for (let i = 0; i < length; i++) {
      member.data[i] = random.below(2 ** 24) / 2 ** 20 - 8;
      sum[i]! += member.data[i]!;
    }
  }
  return sum;
}

export function cut(length: number, pieces: number, random: Random): Bucket[] {
  const ends = Array.from({ length: pieces - 1 }, () => random.below(length + 1)).sort((a, b) => a - b);
  return [...ends, length].map((end, i) => ({ start: i === 0 ? 0 : ends[i - 1]!, end }));
}
