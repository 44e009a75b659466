/**
 * The ring all-reduce of a rank: buckets of one flat Float32Array, each started as soon as this rank's part of it is final,
 * several in flight. `ringStep.ts` has the buckets of a step, and `ringBucket.ts` the algorithm of one; here is what is around them:
 * terms and steps, frames that come early or late, failure.
 *
 * How far may a neighbour be ahead? A rank begins step s+1 only after `commit` of step s, and the coordinator sends that only
 * after every rank has reported step s as reduced. So when the first frame of step s+1 arrives here, our step s is complete:
 * the previous rank is at most one step ahead, and never while we still miss frames of our own step. Within a step it may be
 * ahead by entire buckets (its backward is faster), and after a failure by a term (it heard of the new ring first). Such
 * frames are kept, up to `earlyBytesMax`; above that the link is asked to wait, which fills the sender's queue of references
 * and not our memory. Waiting cannot deadlock: a queued frame is freed by starting its bucket, and when a bucket starts
 * depends on this rank's own computation only, never on a frame that waits behind.
 *
 * What is older than the current term or step is dropped: after a failure the memory that such a frame was sent from may
 * already hold something else.
 */
import { type Clock, systemClock } from '../base/clock.ts';
import { invariant, PeerError } from '../base/errors.ts';
import { durationOf } from '../base/numberText.ts';
import { EarlyFrames } from './earlyFrames.ts';
import { type RingLink, ringHeaderBytes } from './link.ts';
import type { ReduceInto } from './ringBucket.ts';
import { type Neighbour, type RingError, rankOf, ringFailure } from './ringError.ts';
import { decodeRingHeader, encodeRingHeader, type RingHeader, type RingPhase } from './ringFrames.ts';
import { RingProgress } from './ringProgress.ts';
import { type RingStep, StepReduction } from './ringStep.ts';

export interface RingOptions {
  link: RingLink;
  /** The sum. In training it is native code. */
  reduce: ReduceInto;
  /** Payload of one frame, at most. */
  chunkBytes: number;
  /** A step fails when nothing arrives for this long while a frame is due. */
  stepTimeoutMs: number;
  /** How long the next rank may take to accept a connection; default 5 s. */
  reachTimeoutMs?: number;
  /** Frames that are kept because their bucket, step or term has not begun here. */
  earlyBytesMax?: number;
  log?: (message: string) => void;
  clock?: Clock;
}

/** A rank's place in the ring of a term. */
export interface RingPlace {
  term: number;
  rank: number;
  worldSize: number;
  /** Ring address of rank + 1; not used in a world of one. */
  next: string;
  /** Ring address of rank - 1, which is who may connect to this rank. */
  previous: string;
}

/** How a rank takes part in handing the state of a term round, before the first step. */
export interface StatePassage {
  /** Told of the pieces from the previous rank, in order; the bytes may be overwritten when it returns. Absent: none is expected. */
  readonly onPiece?: (offset: number, payload: Uint8Array) => void;
  /** Whether the next rank still waits for pieces of this one. */
  readonly isSending: () => boolean;
  /** The ring does not work: it has been left. */
  readonly onBroken: (error: RingError) => void;
}

/** Statistics of the step begun last. */
export interface RingStats {
  readonly bytesSent: number;
  readonly framesSent: number;
  readonly framesReceived: number;
  /** Frames dropped since the ring was made: older than the term or step, or not what was expected. */
  readonly stale: number;
  readonly malformed: number;
}

const reachTimeoutMsDefault = 5_000;
const earlyBytesMaxDefault = 64 * 2 ** 20;
/** Malformed frames that are logged one by one; all are counted. */
const malformedLoggedMax = 5;

type State =
  | { kind: 'idle' } // no place in a ring yet, or it failed
  | { kind: 'formed' } // between steps
  | { kind: 'active'; step: number };

/** The end of a step, good or bad, for code that waits for it now or later. */
class Completion {
  resolve: () => void = () => {};
  reject: (reason: Error) => void = () => {};
  readonly promise = new Promise<void>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });

  constructor() {
    this.promise.catch(() => {}); // a failure that nobody waits for yet is not unhandled
  }
}

export class RingAllReduce {
  readonly #options: Required<RingOptions>;
  readonly #header = new Uint8Array(ringHeaderBytes);
  #place: RingPlace = { term: -1, rank: 0, worldSize: 1, next: '', previous: '' };
  #state: State = { kind: 'idle' };
  /** The last step begun in this term; -1: none. */
  #step = -1;
  #reduction: StepReduction;
  #done = new Completion();
  #nextGone: string | undefined;
  #passage: StatePassage | undefined;

  readonly #early: EarlyFrames;
  readonly #progress: RingProgress;
  #counts = { bytesSent: 0, framesSent: 0, framesReceived: 0, stale: 0, malformed: 0 };

  constructor(options: RingOptions) {
    const defaults = { reachTimeoutMs: reachTimeoutMsDefault, earlyBytesMax: earlyBytesMaxDefault };
    this.#options = { ...defaults, log: () => {}, clock: systemClock, ...options };
    this.#early = new EarlyFrames(this.#options.earlyBytesMax);
    this.#reduction = this.#newReduction();
    this.#progress = new RingProgress({
      clock: this.#options.clock,
      timeoutMs: options.stepTimeoutMs,
      // While the link waits for us, or nothing that was started is missing, the delay is our own.
      isDue: () => this.#reduction.waitingFor !== -1 && !this.#early.full,
      onTimeout: () => this.#timedOut(),
    });
    options.link.onFrame((header, payload) => this.#onFrame(header, payload));
    options.link.onNextGone((reason) => this.#onNextGone(reason));
  }

  /** Takes a place in the ring of a new term. What is left of an older one is discarded. */
  form(place: RingPlace): void {
    invariant(place.term > this.#place.term, `expected a term above ${this.#place.term}, received ${place.term}`);
    this.abort(new PeerError(`the ring of term ${this.#place.term} was replaced by term ${place.term}`));
    this.#place = { ...place };
    this.#reduction = this.#newReduction();
    this.#step = -1;
    this.#nextGone = undefined;
    this.#counts = { ...this.#counts, framesReceived: 0 };
    this.#state = { kind: 'formed' };
    const { link, reachTimeoutMs } = this.#options;
    if (place.worldSize > 1) link.connect(place.next, place.previous, reachTimeoutMs);
    this.#forgetEarly((header) => header.term < place.term);
  }

  /** Hands the state of `step` round, between `form` and the first step. Pieces that have come already are handed over at once. */
  pass(step: number, passage: StatePassage): void {
    this.#passage = passage;
    if (this.#nextGone !== undefined && passage.isSending()) {
      this.#failNext(this.#nextGone);
      return;
    }
    const { term } = this.#place;
    const isPiece = (header: RingHeader) => header.phase === 'state' && header.term === term && header.step === step;
    for (const { header, payload } of this.#early.take(isPiece)) this.#takePiece(header, payload);
  }

  /** Sends a piece of the state to the next rank; the bytes must not change any more. Without effect after a failure. */
  sendPiece(step: number, offset: number, payload: Uint8Array): void {
    if (this.#state.kind !== 'formed') return;
    if (this.#nextGone !== undefined) {
      this.#failNext(this.#nextGone);
      return;
    }
    const { term, rank } = this.#place;
    const place = { bucket: Math.floor(offset / 2 ** 32), chunk: offset % 2 ** 32, segment: 0 };
    const header = encodeRingHeader({ term, step, phase: 'state', ...place, rank }, this.#header);
    this.#options.link.send(header, payload);
  }

  /** A piece of the state has come another way: statistics have it as a frame, by which the coordinator sees that something moves. */
  countPiece(): void {
    this.#counts.framesReceived++;
  }

  /** Opens a step. No bucket is started by it. */
  begin(step: RingStep): void {
    invariant(
      this.#state.kind === 'formed',
      `a step begins between steps of a formed ring, not when it is ${this.#state.kind}`,
    );
    invariant(step.step > this.#step, `step ${step.step} begins after step ${this.#step}`);
    this.#passage = undefined;
    this.#reduction.begin(step);
    this.#step = step.step;
    this.#state = { kind: 'active', step: step.step };
    this.#done = new Completion();
    this.#counts = { ...this.#counts, bytesSent: 0, framesSent: 0, framesReceived: 0 };
    this.#forgetEarly((header) => header.term === this.#place.term && header.step < step.step);
    if (this.#reduction.isComplete) this.#complete();
  }

  /** This rank's gradients of a bucket are final. Every rank must start the buckets in the same order. Without effect after a failure. */
  start(bucket: number): void {
    if (this.#state.kind === 'idle') return;
    invariant(this.#state.kind === 'active' && this.#reduction.mayStart(bucket), `bucket ${bucket} cannot start`);
    if (!this.#progress.isWatched) this.#progress.watch();
    if (this.#nextGone !== undefined) {
      this.#failNext(this.#nextGone);
      return;
    }
    this.#reduction.start(bucket);
    if (this.#reduction.isComplete) this.#complete();
    const { term } = this.#place;
    const due = (header: RingHeader) => header.term === term && header.step === this.#step && header.bucket === bucket;
    for (const { header, payload } of this.#early.take(due)) this.#apply(header, payload);
  }

  /** Resolves when every bucket of the step holds the sums. Rejects with a RingError when a neighbour fails, or with what `abort` was given. */
  whenDone(): Promise<void> {
    return this.#done.promise;
  }

  /** Ends the step, if there is one, and leaves the ring: nothing is sent or kept until `form`. */
  abort(reason: Error): void {
    this.#progress.stop();
    this.#passage = undefined;
    this.#state = { kind: 'idle' };
    this.#options.link.disconnect();
    // Frames of the term that follows may have come already.
    this.#forgetEarly((header) => header.term <= this.#place.term);
    this.#done.reject(reason);
  }

  stats(): RingStats {
    return { ...this.#counts };
  }

  #newReduction(): StepReduction {
    const { rank, worldSize } = this.#place;
    const { reduce, chunkBytes, clock } = this.#options;
    return new StepReduction({
      ...{ rank, worldSize, reduce, chunkBytes, clock },
      send: (...chunk) => this.#send(...chunk),
    });
  }

  #send(bucket: number, phase: RingPhase, segment: number, chunk: number, payload: Uint8Array): void {
    const { term, rank } = this.#place;
    this.#counts.bytesSent += payload.byteLength;
    this.#counts.framesSent++;
    const header = encodeRingHeader({ term, step: this.#step, bucket, phase, segment, chunk, rank }, this.#header);
    this.#options.link.send(header, payload);
  }

  #onFrame(bytes: Uint8Array, payload: Uint8Array): Promise<void> | undefined {
    const header = decodeRingHeader(bytes);
    if (!header) return this.#malformed('its header is not one of this protocol');
    if (this.#isStale(header)) {
      this.#counts.stale++;
      return undefined;
    }
    if (header.term > this.#place.term) return this.#early.keep(header, payload);
    if (header.rank !== rankOf('previous', this.#place)) return this.#malformed(`it is from rank ${header.rank}`);
    if (header.phase === 'state') {
      const isBeforeSteps = this.#state.kind === 'formed' && this.#step === -1;
      return isBeforeSteps && this.#passage === undefined
        ? this.#early.keep(header, payload)
        : this.#takePiece(header, payload);
    }
    if (this.#state.kind === 'active' && header.step === this.#step) {
      const { bucketCount } = this.#reduction;
      if (header.bucket >= bucketCount)
        return this.#malformed(`bucket ${header.bucket} of ${bucketCount} does not exist`);
      if (this.#reduction.isStarted(header.bucket)) return this.#apply(header, payload);
    }
    return this.#early.keep(header, payload);
  }

  #isStale({ term, step }: RingHeader): boolean {
    if (term !== this.#place.term) return term < this.#place.term;
    return this.#state.kind === 'idle' || (this.#state.kind === 'active' ? step < this.#step : step <= this.#step);
  }

  #takePiece(header: RingHeader, payload: Uint8Array): undefined {
    const { onPiece } = this.#passage ?? {};
    if (onPiece === undefined) return this.#malformed('no state is expected');
    this.#counts.framesReceived++;
    try {
      onPiece(header.bucket * 2 ** 32 + header.chunk, payload);
    } catch (error) {
      if (!(error instanceof PeerError)) throw error;
      this.#fail('previous', `sent another piece of the state: ${error.message}`);
    }
    return undefined;
  }

  #apply(header: RingHeader, payload: Uint8Array): undefined {
    if (this.#state.kind !== 'active') return undefined;
    const outcome = this.#reduction.accept(header, payload);
    switch (outcome) {
      case undefined:
        return undefined;
      case 'applied':
        this.#progress.made();
        this.#counts.framesReceived++;
        if (this.#reduction.isComplete) this.#complete();
        return undefined;
      case 'duplicate':
        this.#counts.stale++;
        return undefined;
      case 'malformed':
        return this.#malformed(
          `segment ${header.segment}, chunk ${header.chunk}, ${payload.byteLength} bytes were not expected`,
        );
      case 'gap':
        this.#fail(
          'previous',
          `lost a frame: ${this.#reduction.describeMissing(header.bucket)} is missing, chunk ${header.chunk} came`,
        );
        return undefined;
      default:
        return outcome satisfies never;
    }
  }

  /** Frames that will never be used. */
  #forgetEarly(drop: (header: RingHeader) => boolean): void {
    this.#counts.stale += this.#early.take(drop).length;
  }

  #complete(): void {
    this.#progress.stop();
    this.#state = { kind: 'formed' };
    this.#done.resolve();
  }

  #timedOut(): void {
    const missing = this.#reduction.describeMissing(this.#reduction.waitingFor);
    this.#fail('previous', `sent nothing for ${durationOf(this.#options.stepTimeoutMs)}: ${missing} is missing`);
  }

  #onNextGone(reason: string): void {
    this.#nextGone = reason;
    const isSending = this.#state.kind === 'active' ? this.#progress.isWatched : this.#passage?.isSending();
    if (isSending) this.#failNext(reason);
  }

  #failNext(reason: string): void {
    this.#fail('next', `is gone: ${reason}`);
  }

  #fail(neighbour: Neighbour, what: string): void {
    const error = ringFailure(neighbour, what, { ...this.#place, step: this.#step }, this.#options.link.unreached);
    const passage = this.#passage;
    this.abort(error);
    passage?.onBroken(error);
  }

  #malformed(why: string): undefined {
    this.#counts.malformed++;
    if (this.#counts.malformed <= malformedLoggedMax) this.#options.log(`dropped a ring frame: ${why}`);
    return undefined;
  }
}
