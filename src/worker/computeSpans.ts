/** What the compute thread does when, in a step that is traced: each kernel, and what it is part of. */
import type { Span } from '../comm/spans.ts';
import type { Engine } from '../engine/engine.ts';
import { type KernelObserver, observeKernels } from '../engine/observeKernels.ts';

export class ComputeSpans {
  #spans: Span[] = [];
  #observer: KernelObserver | undefined;

  /** The engine, its kernels noted down while a step is traced. */
  observed(engine: Engine): Engine {
    return observeKernels(engine, () => this.#observer);
  }

  /** A step begins. What was noted down of the one before is forgotten. */
  begin(isTraced: boolean): void {
    this.#spans = [];
    this.#observer = isTraced ? (kernel, _, startMs, endMs) => this.#add(kernel, startMs, endMs) : undefined;
  }

  /** Something begins that kernels are part of. @returns to be called at its end */
  start(name: string): () => void {
    if (this.#observer === undefined) return () => undefined;
    const startMs = performance.now();
    return () => this.#add(name, startMs, performance.now());
  }

  /** Ends the tracing of the step. */
  take(): Span[] {
    const spans = this.#spans;
    this.begin(false);
    return spans;
  }

  #add(name: string, startMs: number, endMs: number): void {
    this.#spans.push({ track: 'compute', name, startMs: performance.timeOrigin + startMs, ms: endMs - startMs });
  }
}
