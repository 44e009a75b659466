/** Memory of a device and the copies between it and the host, which take virtual time: what gradientExchange.ts needs of an engine. */
import type { TensorGroup } from '../../src/engine/tensor.ts';
import type { GradientExchangeOptions } from '../../src/worker/gradientExchange.ts';
import { blockLength, offsets } from './reference.ts';

export class SimDevice {
  readonly gradients = new Float32Array(blockLength);
  readonly group: TensorGroup = { tensors: [], offsets: [...offsets], length: blockLength };
  readonly isHost: boolean;
  /** Buckets that were copied to it. */
  copiedIn = 0;
  readonly #takes: (ms: number) => Promise<void>;
  /** What is enqueued runs in order. */
  #queue: Promise<void> = Promise.resolve();

  /** @param takes lets this much virtual time pass, more or less */
  constructor(isHost: boolean, takes: (ms: number) => Promise<void>) {
    this.isHost = isHost;
    this.#takes = takes;
  }

  /** As an engine sees it. */
  get engine(): GradientExchangeOptions['engine'] {
    return {
      isHost: this.isHost,
      hostRange: (_, from, to) => (this.isHost ? this.gradients.subarray(from, to) : new Float32Array(to - from)),
      copyOut: (_, from, to, into) => {
        if (this.isHost) return undefined;
        const now = this.gradients.slice(from, to);
        return this.#takes(4).then(() => into.set(now));
      },
      copyIn: (_, from, to, data) => {
        if (this.isHost) return;
        this.copiedIn++;
        // It reads the host's memory when its turn comes.
        this.#queue = this.#queue.then(() => this.#takes(2)).then(() => this.gradients.subarray(from, to).set(data));
      },
      finish: () => this.finish(),
    };
  }

  /** Resolves when all that is enqueued has run. */
  finish(): Promise<void> {
    return this.#queue;
  }
}
