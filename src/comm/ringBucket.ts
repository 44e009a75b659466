/**
 * The ring all-reduce of one bucket on one rank: which part is sent when, and what an arriving chunk does. No clock, no link,
 * no queue: those are in `ring.ts`.
 *
 * The bucket is cut into worldSize segments. With N ranks, on rank r:
 *
 * ```
 *  reduce-scatter  hop 0..N-2   receives segment r-1-hop, adds it to its own, sends it on
 *                               (hop 0 is preceded by sending its own segment r as it is)
 *  all-gather      hop 0..N-2   receives segment r-hop, finished, puts it into place, sends it on
 *                               (but for the last hop, after which everyone has it)
 * ```
 *
 * After hop N-2 of reduce-scatter segment r+1 has been round and is finished on rank r, which starts its all-gather. Each rank
 * sends 2(N-1)/N of the bucket. Segments move in chunks: a chunk is summed and sent on while the next one is on the wire.
 *
 * Every rank ends with the same bits: segment s is summed in the fixed order s, s+1, … round the ring, once, and then copied.
 *
 * Why the payloads may be sent without a copy, though the same memory is overwritten by all-gather: chunk c of segment s that
 * rank r sends in reduce-scatter is overwritten on r only by the finished chunk c of segment s. That one contains the
 * contribution of r, so rank r+1 has received in full what r sent. What r sends in all-gather, and what it sends on, is not
 * written again in this step; the caller must leave the data alone until every rank is done (in training: until `commit`).
 */
import type { Bucket } from './buckets.ts';
import { floatsOf, type RingPhase } from './ringFrames.ts';

/** dst += src, element by element. */
export type ReduceInto = (dst: Float32Array, src: Float32Array) => void;

/** Segments begin at multiples of this many elements of the bucket, one cache line. */
const segmentAlignment = 16;

export interface BucketReductionOptions {
  data: Float32Array;
  bucket: Bucket;
  rank: number;
  worldSize: number;
  chunkElements: number;
  reduce: ReduceInto;
  send: (phase: RingPhase, segment: number, chunk: number, payload: Uint8Array) => void;
}

/** What became of a frame: `gap` means that one before it is lost for good. */
export type Outcome = 'applied' | 'duplicate' | 'gap' | 'malformed';

export class BucketReduction {
  started = false;
  readonly #options: BucketReductionOptions;
  readonly #segmentElements: number;
  /** Chunks received so far, of each hop: reduce-scatter 0..N-2, then all-gather 0..N-2. */
  readonly #received: Int32Array;
  readonly #framesTotal: number;
  #framesLeft: number;

  constructor(options: BucketReductionOptions) {
    this.#options = options;
    const { bucket, rank, worldSize } = options;
    const even = Math.ceil((bucket.end - bucket.start) / worldSize);
    this.#segmentElements = Math.ceil(even / segmentAlignment) * segmentAlignment;
    this.#received = new Int32Array(2 * (worldSize - 1));
    let frames = 0;
    for (let hop = 0; hop < worldSize - 1; hop++) {
      frames += this.#chunksOf(wrap(rank - 1 - hop, worldSize)) + this.#chunksOf(wrap(rank - hop, worldSize));
    }
    this.#framesTotal = frames;
    this.#framesLeft = frames;
  }

  get done(): boolean {
    return this.started && this.#framesLeft === 0;
  }

  /** Makes it as new, for the next step. */
  reset(): void {
    this.started = false;
    this.#received.fill(0);
    this.#framesLeft = this.#framesTotal;
  }

  /** The rank's own gradient is final: sends its own segment. Frames are accepted from here on. */
  start(): void {
    this.started = true;
    const { rank, worldSize } = this.#options;
    if (worldSize === 1) return;
    const chunks = this.#chunksOf(rank);
    for (let chunk = 0; chunk < chunks; chunk++) this.#send('reduceScatter', rank, chunk, this.#part(rank, chunk));
  }

  /** A chunk from the previous rank. Nothing is touched unless it is exactly the one that is due. */
  accept(phase: RingPhase, segment: number, chunk: number, payload: Uint8Array): Outcome {
    const { rank, worldSize, reduce } = this.#options;
    if (segment >= worldSize) return 'malformed';
    const hop = wrap(phase === 'reduceScatter' ? rank - 1 - segment : rank - segment, worldSize);
    if (hop === worldSize - 1 || chunk >= this.#chunksOf(segment)) return 'malformed';
    const part = this.#part(segment, chunk);
    if (payload.byteLength !== part.byteLength) return 'malformed';
    const index = phase === 'reduceScatter' ? hop : worldSize - 1 + hop;
    const due = this.#received[index] ?? 0;
    if (chunk !== due) return chunk < due ? 'duplicate' : 'gap';
    this.#received[index] = due + 1;
    this.#framesLeft--;
    if (phase === 'reduceScatter') {
      reduce(part, floatsOf(payload));
      const finished = hop === worldSize - 2;
      this.#send(finished ? 'allGather' : 'reduceScatter', segment, chunk, part);
    } else {
      part.set(floatsOf(payload));
      if (hop < worldSize - 2) this.#send('allGather', segment, chunk, part);
    }
    return 'applied';
  }

  /** The first frame that is due and has not come, for messages. */
  describeMissing(): string {
    const { rank, worldSize } = this.#options;
    for (const [index, received] of this.#received.entries()) {
      const hop = index % (worldSize - 1);
      const gathering = index >= worldSize - 1;
      const segment = wrap(gathering ? rank - hop : rank - 1 - hop, worldSize);
      const chunks = this.#chunksOf(segment);
      if (received < chunks) {
        return `${gathering ? 'all-gather' : 'reduce-scatter'}, segment ${segment}, chunk ${received} of ${chunks}`;
      }
    }
    return 'nothing';
  }

  #send(phase: RingPhase, segment: number, chunk: number, part: Float32Array): void {
    this.#options.send(phase, segment, chunk, new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  }

  #segmentStart(segment: number): number {
    const { bucket } = this.#options;
    return Math.min(bucket.end, bucket.start + segment * this.#segmentElements);
  }

  #chunksOf(segment: number): number {
    const elements = this.#segmentStart(segment + 1) - this.#segmentStart(segment);
    return Math.ceil(elements / this.#options.chunkElements);
  }

  /** View of chunk `chunk` of a segment in the data. */
  #part(segment: number, chunk: number): Float32Array {
    const from = this.#segmentStart(segment) + chunk * this.#options.chunkElements;
    const to = Math.min(this.#segmentStart(segment + 1), from + this.#options.chunkElements);
    return this.#options.data.subarray(from, to);
  }
}

function wrap(rank: number, worldSize: number): number {
  return ((rank % worldSize) + worldSize) % worldSize;
}
