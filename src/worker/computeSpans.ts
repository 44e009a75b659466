/**
 * The compute thread's activities in a traced step: each kernel, and the larger part it belongs to. Kernels have their own track if a
 * device runs them later and reports times by its clock.
 */
import type { Span } from '../comm/spans.ts';
import type { DeviceTimings } from '../engine/device.ts';
import type { Engine } from '../engine/engine.ts';
import { type KernelObserver, observeKernels } from '../engine/observeKernels.ts';

export class ComputeSpans {
  #spans: Span[] = [];
  #isTraced = false;
  #timings: DeviceTimings | undefined;

  /** The engine; records its kernels while a step is traced. */
  observed(engine: Engine): Engine {
    this.#timings = engine.timings;
    if (this.#timings !== undefined) return engine;
    const observer: KernelObserver = (kernel, _, startMs, endMs) => this.#add('compute', kernel, startMs, endMs);
    return observeKernels(engine, () => (this.#isTraced ? observer : undefined));
  }

  /** A step begins. Discards the records of the previous one. */
  begin(isTraced: boolean): void {
    this.#spans = [];
    if (isTraced) this.#timings?.start();
    else if (this.#isTraced) void this.#timings?.take().catch(() => undefined); // from an abandoned step
    this.#isTraced = isTraced;
  }

  /** A part begins, to which the following kernels belong. @returns a function to call at its end */
  start(name: string): () => void {
    if (!this.#isTraced) return () => undefined;
    const startMs = performance.now();
    return () => this.#add('compute', name, startMs, performance.now());
  }

  /** Ends the tracing of the step. */
  async take(): Promise<Span[]> {
    const spans = this.#spans;
    if (this.#isTraced && this.#timings !== undefined) {
      this.#isTraced = false;
      for (const { kernel, startMs, ms } of await this.#timings.take()) {
        spans.push(spanOf('device', kernel, startMs, startMs + ms));
      }
    }
    this.begin(false);
    return spans;
  }

  #add(track: Span['track'], name: string, startMs: number, endMs: number): void {
    this.#spans.push(spanOf(track, name, startMs, endMs));
  }
}

/** Times are this thread's `performance.now()`. */
function spanOf(track: Span['track'], name: string, startMs: number, endMs: number): Span {
  return { track, name, startMs: performance.timeOrigin + startMs, ms: endMs - startMs };
}
