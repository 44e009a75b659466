/** Times each kernel that an engine is asked for, and works out what it had to do. */
import type { Engine } from '../engine/engine.ts';
import { type KernelName, type KernelObserver, observeKernels } from '../engine/observeKernels.ts';
import { type KernelWork, kernelShape, kernelWork } from './kernelWork.ts';

export interface KernelCall extends KernelWork {
  readonly kernel: KernelName;
  readonly shape: string;
  readonly ms: number;
}

/** As it is noted down; what it had to do is worked out later, so as not to take the step's time. */
interface NotedCall {
  readonly kernel: KernelName;
  readonly options: unknown;
  readonly ms: number;
}

export class KernelTimer {
  /** Computes what the engine inside computes. */
  readonly engine: Engine;
  #observer: KernelObserver | undefined;

  constructor(inner: Engine) {
    this.engine = observeKernels(inner, () => this.#observer);
  }

  /** Times the kernels that `body` calls. */
  async timed<T>(body: () => Promise<T>): Promise<{ calls: readonly KernelCall[]; result: T }> {
    const noted: NotedCall[] = [];
    this.#observer = (kernel, options, startMs, endMs) => void noted.push({ kernel, options, ms: endMs - startMs });
    try {
      const result = await body();
      const calls = noted.map(({ kernel, options, ms }) => ({
        kernel,
        shape: kernelShape(options),
        ms,
        ...kernelWork(kernel, options),
      }));
      return { calls, result };
    } finally {
      this.#observer = undefined;
    }
  }
}
