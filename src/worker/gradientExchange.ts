/**
 * The exchange of gradients between the device and the ring: one flat Float32Array in shared memory that the agent's main thread
 * all-reduces. If the device's memory is the host's, these are the gradients themselves. Otherwise each bucket is copied out when it is
 * final, during the rest of backward, and copied back when it is reduced, during the rest of the ring. A single rank copies nothing.
 * Notifications are per bucket, because each message wakes a thread that shares the cores with the kernels.
 */
import { invariant } from '../base/errors.ts';
import { type BucketPlan, BucketTracker, planFor } from '../comm/buckets.ts';
import type { Engine } from '../engine/engine.ts';
import type { TensorGroup } from '../engine/tensor.ts';

export interface GradientExchangeOptions {
  readonly engine: Pick<Engine, 'isHost' | 'hostRange' | 'copyOut' | 'copyIn' | 'finish'>;
  /** The gradients. */
  readonly group: TensorGroup;
  /** For a ring of few ranks. */
  readonly plan: BucketPlan;
  /** Called with each bucket that the ring may read, and the agent's id of the attempt. */
  readonly onReady: (attempt: number, bucket: number) => void;
}

export class GradientExchange {
  /** The flat gradients, [group.length]. */
  readonly shared: Float32Array;
  readonly #options: GradientExchangeOptions;
  /** The buckets of the ring of the newest step. */
  #plan: BucketPlan;
  #tracker: BucketTracker;
  #worldSize = 1;
  /** Copies to the host in progress. */
  #leaving: Promise<void>[] = [];
  /** The device may still be reading the returned data, so `shared` must not change. */
  #isReturning = false;
  /** Buckets not yet returned. */
  readonly #missing = new Set<number>();
  #onAllBack: () => void = () => {};
  #attempt = 0;
  /** The ring and the device share memory: nothing is copied. */
  #isInPlace = true;

  constructor(options: GradientExchangeOptions) {
    this.#options = options;
    this.#plan = options.plan;
    this.#tracker = new BucketTracker(options.plan);
    this.shared = options.engine.hostRange(options.group, 0, options.group.length);
  }

  /**
   * Call it before each step. Waits for the copies, in both directions, of an abandoned step.
   * @param attempt the agent's id of this attempt
   * @param worldSize number of ranks. With one, there are no gradients to add: the agent is told of buckets but reduces none
   */
  async begin(attempt: number, { worldSize = 2 } = {}): Promise<void> {
    const { engine } = this.#options;
    this.#attempt = attempt; // from here on, buckets returned by the previous attempt are ignored
    await Promise.allSettled(this.#leaving);
    this.#leaving = [];
    if (this.#isReturning) await engine.finish();
    this.#isReturning = false;
    if (worldSize !== this.#worldSize) {
      this.#worldSize = worldSize;
      this.#plan = planFor(this.#options.plan, worldSize);
      this.#tracker = new BucketTracker(this.#plan);
    }
    this.#tracker.reset();
    this.#isInPlace = engine.isHost || worldSize === 1;
    this.#missing.clear();
    if (!this.#isInPlace) for (const bucket of this.#plan.buckets.keys()) this.#missing.add(bucket);
  }

  /** Parameter `index` has its final gradient on this rank; the buckets that it completes go to the ring. */
  ready(index: number): void {
    const attempt = this.#attempt;
    for (const bucket of this.#tracker.ready(index)) {
      const tell = (): void => this.#options.onReady(attempt, bucket);
      const { group, engine } = this.#options;
      const [from, to] = this.#range(bucket);
      const into = this.shared.subarray(from, to);
      const copied = this.#isInPlace ? undefined : engine.copyOut(group, from, to, into)?.then(tell);
      if (copied === undefined) tell();
      else {
        copied.catch(() => undefined); // `flush` reports it
        this.#leaving.push(copied);
      }
    }
  }

  /** Resolves when the agent can read every ready bucket, and has been told. */
  async flush(): Promise<void> {
    await Promise.all(this.#leaving);
  }

  /** A bucket is reduced and returns to the device. Buckets of other steps are ignored. */
  takeBack(attempt: number, bucket: number): void {
    if (attempt !== this.#attempt || !this.#missing.delete(bucket)) return;
    const [from, to] = this.#range(bucket);
    this.#isReturning = true;
    this.#options.engine.copyIn(this.#options.group, from, to, this.shared.subarray(from, to));
    if (this.#missing.size === 0) this.#onAllBack();
  }

  /** Resolves when all later computation on the device sees the reduced gradients: `takeBack` was called for every bucket. */
  async whenBack(): Promise<void> {
    if (this.#missing.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onAllBack = resolve;
    });
  }

  #range(bucket: number): [from: number, to: number] {
    const range = this.#plan.buckets[bucket];
    invariant(range !== undefined, `there is no bucket ${bucket}`);
    return [range.start, range.end];
  }
}
