/**
 * Where the gradients meet the ring: one flat Float32Array on shared memory that the agent's main thread all-reduces. It is the
 * gradients themselves where the device's memory is the host's; else each bucket is copied out as it becomes final, beside the
 * rest of backward, and copied back as it is reduced, beside the rest of the ring. On a rank without others nothing is copied. It tells
 * of whole buckets, not of single gradients: each message wakes a thread that shares the cores with the kernels.
 */
import { invariant } from '../base/errors.ts';
import { type BucketPlan, BucketTracker } from '../comm/buckets.ts';
import type { Engine } from '../engine/engine.ts';
import type { TensorGroup } from '../engine/tensor.ts';

export interface GradientExchangeOptions {
  readonly engine: Pick<Engine, 'isHost' | 'hostRange' | 'copyOut' | 'copyIn' | 'finish'>;
  /** The gradients. */
  readonly group: TensorGroup;
  readonly plan: BucketPlan;
  /** Told of each bucket that the ring may read, and what the agent knows the step by. */
  readonly onReady: (attempt: number, bucket: number) => void;
}

export class GradientExchange {
  /** The flat gradients, [group.length]. */
  readonly shared: Float32Array;
  readonly #options: GradientExchangeOptions;
  readonly #tracker: BucketTracker;
  /** Copies to the host that are under way. */
  #leaving: Promise<void>[] = [];
  /** The device may still read what came back: `shared` must stay as it is. */
  #isReturning = false;
  /** Buckets that are still to come back. */
  readonly #missing = new Set<number>();
  #onAllBack: () => void = () => {};
  #attempt = 0;
  /** The ring has what the device has: nothing is copied. */
  #isInPlace = true;

  constructor(options: GradientExchangeOptions) {
    this.#options = options;
    this.#tracker = new BucketTracker(options.plan);
    this.shared = options.engine.hostRange(options.group, 0, options.group.length);
  }

  /**
   * To be called before each step; waits for the copies, of both ways, of one that was given up.
   * @param attempt what the agent knows this one by
   * @param isAlone there is no other rank, whose gradients would be added: the agent is told of buckets, and has none to reduce
   */
  async begin(attempt: number, { isAlone = false } = {}): Promise<void> {
    const { engine } = this.#options;
    this.#attempt = attempt; // what still comes back of the former one is nothing, from here on
    await Promise.allSettled(this.#leaving);
    this.#leaving = [];
    if (this.#isReturning) await engine.finish();
    this.#isReturning = false;
    this.#tracker.reset();
    this.#isInPlace = engine.isHost || isAlone;
    this.#missing.clear();
    if (!this.#isInPlace) for (const bucket of this.#options.plan.buckets.keys()) this.#missing.add(bucket);
  }

  /** Parameter `index` has its final gradient on this rank: the buckets that it completes are on their way to the ring. */
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
        copied.catch(() => undefined); // `flush` says so
        this.#leaving.push(copied);
      }
    }
  }

  /** Resolves when every bucket that was ready is where the agent can read it, and the agent has been told. */
  async flush(): Promise<void> {
    await Promise.all(this.#leaving);
  }

  /** A bucket is reduced: it goes back to the device. What is of another step than this one is nothing. */
  takeBack(attempt: number, bucket: number): void {
    if (attempt !== this.#attempt || !this.#missing.delete(bucket)) return;
    const [from, to] = this.#range(bucket);
    this.#isReturning = true;
    this.#options.engine.copyIn(this.#options.group, from, to, this.shared.subarray(from, to));
    if (this.#missing.size === 0) this.#onAllBack();
  }

  /** Resolves when all that the device computes from now on sees the reduced gradients: `takeBack` was called for every bucket. */
  async whenBack(): Promise<void> {
    if (this.#missing.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onAllBack = resolve;
    });
  }

  #range(bucket: number): [from: number, to: number] {
    const range = this.#options.plan.buckets[bucket];
    invariant(range !== undefined, `there is no bucket ${bucket}`);
    return [range.start, range.end];
  }
}
