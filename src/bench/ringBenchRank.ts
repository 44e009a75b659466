/**
 * One rank of the ring bench: a separate process, like a worker, that `ringBench.ts` forks and controls. The data has exact sums, so
 * that every element can be checked.
 */
import { InvariantError, messageOf } from '../base/errors.ts';
import type { Bucket } from '../comm/buckets.ts';
import { RingAllReduce } from '../comm/ring.ts';
import { newRunKeys } from '../comm/runKeys.ts';
import { localHostId } from '../comm/unixSocketRing.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { hostAdd } from '../engine/hostAdd.ts';

/** Requests from the parent, in this order; `prepare` and `step` may repeat. */
export type RingBenchRequest =
  | {
      type: 'open';
      rank: number;
      worldSize: number;
      elements: number;
      bucketElements: number;
      chunkBytes: number;
      localRing: boolean;
      encrypted: boolean;
    }
  | { type: 'form'; next: string; previous: string }
  | { type: 'prepare'; step: number }
  | { type: 'step'; check: boolean };

/** Answers to the parent, one per request. */
export type RingBenchReply =
  | { type: 'opened'; address: string; local: boolean; reduce: 'native' | 'javascript' }
  | { type: 'formed' }
  | { type: 'prepared' }
  | { type: 'stepped'; ms: number; bytesSent: number; wrong: number; cpuMs: number }
  | { type: 'failed'; message: string };

const stepTimeoutMs = 30_000;

/** Small integers: exact in float32 in any order of summation. */
const valueAt = (index: number, rank: number) => ((index * 7 + rank * 13) & 63) - 31;

class BenchRank {
  readonly #open: Extract<RingBenchRequest, { type: 'open' }>;
  readonly #ring: RingAllReduce;
  readonly #data: Float32Array;
  readonly #buckets: Bucket[] = [];

  private constructor(open: Extract<RingBenchRequest, { type: 'open' }>, ring: RingAllReduce) {
    this.#open = open;
    this.#ring = ring;
    this.#data = new Float32Array(new SharedArrayBuffer(open.elements * Float32Array.BYTES_PER_ELEMENT));
    for (let start = 0; start < open.elements; start += open.bucketElements) {
      this.#buckets.push({ start, end: Math.min(open.elements, start + open.bucketElements) });
    }
  }

  static async create(open: Extract<RingBenchRequest, { type: 'open' }>): Promise<[BenchRank, RingBenchReply]> {
    // Each rank's ring has its own keys; the run's keys are only for the control links.
    const keys = open.encrypted ? newRunKeys() : undefined;
    const link = await zmqTransport({ localRing: open.localRing, keys }).openRing('127.0.0.1');
    const { addInto, isNative } = hostAdd();
    const ring = new RingAllReduce({ link, reduce: addInto, chunkBytes: open.chunkBytes, stepTimeoutMs });
    const local = open.localRing && localHostId() !== undefined;
    const reduce = isNative ? 'native' : 'javascript';
    const reply = { type: 'opened', address: link.address, local, reduce } as const;
    return [new BenchRank(open, ring), reply];
  }

  form(next: string, previous: string): void {
    this.#ring.form({ term: 0, rank: this.#open.rank, worldSize: this.#open.worldSize, next, previous });
  }

  prepare(step: number): void {
    for (let i = 0; i < this.#data.length; i++) this.#data[i] = valueAt(i, this.#open.rank);
    this.#ring.begin({ step, data: this.#data, buckets: this.#buckets });
  }

  /** One all-reduce of everything: all buckets at once, as at the end of a backward pass that hides nothing. */
  async step(check: boolean): Promise<RingBenchReply> {
    const cpu = process.cpuUsage();
    const from = performance.now();
    for (const bucket of this.#buckets.keys()) this.#ring.start(bucket);
    await this.#ring.whenDone();
    const ms = performance.now() - from;
    const { user, system } = process.cpuUsage(cpu);
    const cpuMs = (user + system) / 1000;
    return { type: 'stepped', ms, cpuMs, bytesSent: this.#ring.stats().bytesSent, wrong: check ? this.#wrong() : 0 };
  }

  #wrong(): number {
    let wrong = 0;
    for (let i = 0; i < this.#data.length; i++) {
      let sum = 0;
      for (let rank = 0; rank < this.#open.worldSize; rank++) sum += valueAt(i, rank);
      if (this.#data[i] !== sum) wrong++;
    }
    return wrong;
  }
}

let rank: BenchRank | undefined;

async function answer(request: RingBenchRequest): Promise<RingBenchReply> {
  if (request.type === 'open') {
    const [created, reply] = await BenchRank.create(request);
    rank = created;
    return reply;
  }
  if (!rank) throw new InvariantError(`expected "open" before "${request.type}"`);
  switch (request.type) {
    case 'form':
      rank.form(request.next, request.previous);
      return { type: 'formed' };
    case 'prepare':
      rank.prepare(request.step);
      return { type: 'prepared' };
    case 'step':
      return await rank.step(request.check);
    default:
      return request satisfies never;
  }
}

process.on('message', (request: RingBenchRequest) => {
  answer(request).then(
    (reply) => process.send?.(reply),
    (error: unknown) => process.send?.({ type: 'failed', message: messageOf(error) } satisfies RingBenchReply),
  );
});
// The parent has finished or died.
process.on('disconnect', () => process.exit(0));
