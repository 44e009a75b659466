/**
 * Where the gradients meet the ring: one flat Float32Array on shared memory that the agent's main thread all-reduces.
 * If the device is the host's memory, that is the gradients themselves; else a copy, downloaded as gradients become final
 * and uploaded once they are reduced. It tells the agent of whole buckets, not of single gradients: each message wakes a
 * thread that shares the cores with the kernels.
 */
import type { MessagePort } from 'node:worker_threads';
import { invariant } from '../base/errors.ts';
import { type BucketPlan, BucketTracker } from '../comm/buckets.ts';
import type { Engine, TensorGroup } from '../engine/engine.ts';

export class GradientExchange {
  /** The flat gradients, [group.length]. */
  readonly shared: Float32Array;
  readonly #engine: Engine;
  readonly #group: TensorGroup;
  readonly #inPlace: boolean;
  readonly #tracker: BucketTracker;
  /** Gradients that are final on the device and not yet downloaded. */
  #waiting: number[] = [];
  #attempt = 0;

  constructor(engine: Engine, group: TensorGroup, plan: BucketPlan) {
    this.#engine = engine;
    this.#group = group;
    const view = engine.hostViewOfGroup(group);
    this.#inPlace = view !== undefined;
    this.#tracker = new BucketTracker(plan);
    this.shared = view ?? new Float32Array(new SharedArrayBuffer(group.length * 4));
  }

  /** To be called before each step. @param attempt what the agent knows this one by */
  begin(attempt: number): void {
    this.#attempt = attempt;
    this.#waiting = [];
    this.#tracker.reset();
  }

  /** Parameter `index` has its final gradient on this rank: tell the agent of the buckets that it completes. */
  ready(index: number, port: MessagePort): void {
    if (this.#inPlace) this.#tell(index, port);
    else this.#waiting.push(index); // to be downloaded first
  }

  /** Resolves when every gradient is where the agent can read it, and the agent has been told. */
  async flush(port: MessagePort): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const index of waiting) {
      await this.#engine.download(this.#tensor(index), this.#slice(index));
      this.#tell(index, port);
    }
    await this.#engine.finish();
  }

  /** Brings the reduced gradients back to the device. */
  takeReduced(): void {
    if (this.#inPlace) return;
    for (const index of this.#group.tensors.keys()) this.#engine.upload(this.#tensor(index), this.#slice(index));
  }

  #tell(index: number, port: MessagePort): void {
    for (const bucket of this.#tracker.ready(index)) port.postMessage([this.#attempt, bucket]);
  }

  #tensor(index: number) {
    const tensor = this.#group.tensors[index];
    invariant(tensor !== undefined, `the group has no tensor ${index}`);
    return tensor;
  }

  #slice(index: number): Float32Array {
    const offset = this.#group.offsets[index] ?? 0;
    return this.shared.subarray(offset, offset + this.#tensor(index).size);
  }
}
