/**
 * The ring all-reduce of one step on one rank: its buckets, each started by itself, several in flight, until all hold the sums.
 * ringBucket.ts has the algorithm of a bucket. Terms, links, frames that come early and failure: ring.ts.
 */
import type { Clock } from '../base/clock.ts';
import { invariant } from '../base/errors.ts';
import type { Bucket } from './buckets.ts';
import { BucketReduction, type Outcome, type ReduceInto } from './ringBucket.ts';
import type { RingHeader, RingPhase } from './ringFrames.ts';

export interface RingStep {
  step: number;
  /** This rank's gradients; when the step is done, the sums over all ranks. May be a view of a SharedArrayBuffer. */
  data: Float32Array;
  /** The same on every rank. */
  buckets: readonly Bucket[];
  /** Told of each bucket when it holds the sums, while others travel. It may be read, and is not to be written. */
  onReduced?: (bucket: number) => void;
  /** Told of the step's frames and buckets. */
  observer?: RingObserver | undefined;
}

/** Listeners for the times of events in a step, on the ring's clock. */
export interface RingObserver {
  /** A bucket's sums are complete on this rank. */
  bucket(bucket: number, startMs: number, endMs: number): void;
  /** A chunk was summed or put into place, and sent on. */
  chunk(header: RingHeader, startMs: number, endMs: number): void;
}

export interface StepReductionOptions {
  readonly rank: number;
  readonly worldSize: number;
  /** The sum. */
  readonly reduce: ReduceInto;
  /** Payload of one frame, at most. */
  readonly chunkBytes: number;
  readonly clock: Clock;
  /** Sends the next rank a chunk. */
  readonly send: (bucket: number, phase: RingPhase, segment: number, chunk: number, payload: Uint8Array) => void;
}

/** The same for all steps of a term, one after another. */
export class StepReduction {
  readonly #options: StepReductionOptions;
  #plan: RingStep | undefined;
  #reductions: readonly BucketReduction[] = [];
  #unfinished = 0;
  /** When each bucket was started, where somebody observes. */
  readonly #startedMs = new Map<number, number>();

  constructor(options: StepReductionOptions) {
    this.#options = options;
  }

  get bucketCount(): number {
    return this.#reductions.length;
  }

  /** Whether every bucket holds the sums. */
  get isComplete(): boolean {
    return this.#unfinished === 0;
  }

  /** The first bucket that was started and does not hold the sums; -1: none. */
  get waitingFor(): number {
    return this.#reductions.findIndex((reduction) => reduction.started && !reduction.done);
  }

  /** Replaces the step before. */
  begin(step: RingStep): void {
    if (this.#plan?.data === step.data && this.#plan.buckets === step.buckets) {
      for (const reduction of this.#reductions) reduction.reset();
    } else this.#reductions = step.buckets.map((bucket, index) => this.#reductionOf(step.data, bucket, index));
    this.#plan = step;
    this.#unfinished = step.buckets.length;
    this.#startedMs.clear();
  }

  isStarted(bucket: number): boolean {
    return this.#reductions[bucket]?.started === true;
  }

  /** Whether this step has the bucket, and it was not started yet. */
  mayStart(bucket: number): boolean {
    return this.#reductions[bucket]?.started === false;
  }

  /** This rank's gradients of a bucket are final. */
  start(bucket: number): void {
    const reduction = this.#reductions[bucket];
    invariant(reduction !== undefined && !reduction.started, `bucket ${bucket} cannot start`);
    if (this.#plan?.observer !== undefined) this.#startedMs.set(bucket, this.#options.clock.monotonic());
    reduction.start();
    if (reduction.done) this.#finish(bucket); // a world of one, or an empty bucket
  }

  /** A chunk from the previous rank. Undefined: it does not belong to a bucket of this step. */
  accept(header: RingHeader, payload: Uint8Array): Outcome | undefined {
    const reduction = this.#reductions[header.bucket];
    if (!reduction || header.phase === 'state') return undefined;
    const observer = this.#plan?.observer;
    const { clock } = this.#options;
    const startMs = observer === undefined ? 0 : clock.monotonic();
    const outcome = reduction.accept(header.phase, header.segment, header.chunk, payload);
    observer?.chunk(header, startMs, clock.monotonic());
    if (outcome === 'applied' && reduction.done) this.#finish(header.bucket);
    return outcome;
  }

  /** The chunk of a bucket that is due, for messages. */
  describeMissing(bucket: number): string {
    return `bucket ${bucket}, ${this.#reductions[bucket]?.describeMissing() ?? 'nothing'}`;
  }

  #reductionOf(data: Float32Array, bucket: Bucket, index: number): BucketReduction {
    const { rank, worldSize, reduce, chunkBytes, send } = this.#options;
    invariant(
      0 <= bucket.start && bucket.start <= bucket.end && bucket.end <= data.length,
      `bucket ${index} is outside`,
    );
    const chunkElements = Math.max(1, Math.floor(chunkBytes / Float32Array.BYTES_PER_ELEMENT));
    return new BucketReduction({
      ...{ data, bucket, rank, worldSize, chunkElements, reduce },
      send: (phase, segment, chunk, payload) => send(index, phase, segment, chunk, payload),
    });
  }

  #finish(bucket: number): void {
    const { observer, onReduced } = this.#plan ?? {};
    const startMs = this.#startedMs.get(bucket);
    if (startMs !== undefined) observer?.bucket(bucket, startMs, this.#options.clock.monotonic());
    onReduced?.(bucket);
    this.#unfinished--;
  }
}
