/**
 * Times each kernel call of an engine and computes its amount of work. The device's clock is used if there is one, otherwise the
 * host's, from a kernel's call to its end.
 */
import { invariant } from '../base/errors.ts';
import type { DeviceTimings } from '../engine/device.ts';
import type { Engine } from '../engine/engine.ts';
import { type KernelName, type KernelObserver, observeKernels } from '../engine/observeKernels.ts';
import { type KernelWork, kernelShape, kernelWork } from './kernelWork.ts';

export interface KernelCall extends KernelWork {
  readonly kernel: KernelName;
  readonly shape: string;
  readonly ms: number;
}

/** A recorded call. Its amount of work is computed later, so that this does not take the step's time. */
interface NotedCall {
  readonly kernel: KernelName;
  readonly options: unknown;
  readonly ms: number;
}

export class KernelTimer {
  /** Computes the same as the engine it wraps. */
  readonly engine: Engine;
  /** The clock that times them. */
  readonly clock: 'device' | 'host';
  readonly #timings: DeviceTimings | undefined;
  #observer: KernelObserver | undefined;

  constructor(inner: Engine) {
    this.engine = observeKernels(inner, () => this.#observer);
    this.#timings = inner.timings;
    this.clock = inner.timings === undefined ? 'host' : 'device';
  }

  /** Times the kernels called by `body`. */
  async timed<T>(body: () => Promise<T>): Promise<{ calls: readonly KernelCall[]; result: T }> {
    const noted: NotedCall[] = [];
    this.#observer = (kernel, options, startMs, endMs) => void noted.push({ kernel, options, ms: endMs - startMs });
    this.#timings?.start();
    try {
      const result = await body();
      this.#observer = undefined;
      const times = await this.#timings?.take();
      invariant(
        times === undefined || times.length === noted.length,
        `the device timed ${times?.length} kernels of ${noted.length}`,
      );
      const calls = noted.map(({ kernel, options, ms }, i) => {
        const timed = times?.[i];
        invariant(timed === undefined || timed.kernel === kernel, `the device timed ${timed?.kernel}, not ${kernel}`);
        return { kernel, shape: kernelShape(options), ms: timed?.ms ?? ms, ...kernelWork(kernel, options) };
      });
      return { calls, result };
    } finally {
      this.#observer = undefined;
    }
  }
}
