/** The timeline of a step that is traced, as the agent sees it: what it waits for, and what the ring does. */

import type { RingObserver } from '../comm/ring.ts';
import { encodeSpans, type Span, spansMax } from '../comm/spans.ts';
import type { WorkerMessageOf } from '../comm/workerMessages.ts';

export class StepTrace {
  readonly #spans: Span[] = [];

  /** Of the ring: its buckets, and its chunks. */
  readonly ring: RingObserver = {
    bucket: (bucket, startMs, endMs) => this.add('buckets', `bucket ${bucket}`, startMs, endMs),
    chunk: ({ phase, bucket, segment, chunk }, startMs, endMs) => {
      const name = phase === 'reduceScatter' ? 'reduce-scatter' : 'all-gather';
      this.add('chunks', `${name} ${bucket}.${segment}.${chunk}`, startMs, endMs);
    },
  };

  /** @param startMs and endMs are of this thread's monotonic clock */
  add(track: Span['track'], name: string, startMs: number, endMs: number): void {
    this.#spans.push({ track, name, startMs: performance.timeOrigin + startMs, ms: endMs - startMs });
  }

  /** The message that tells of it, with its payload. */
  message(
    { term, step }: { term: number; step: number },
    computed: readonly Span[],
  ): [WorkerMessageOf<'trace'>, Uint8Array] {
    const all = [...this.#spans, ...computed];
    const sentAtMs = performance.timeOrigin + performance.now();
    const dropped = Math.max(0, all.length - spansMax);
    return [{ type: 'trace', term, step, sentAtMs, dropped }, encodeSpans(all.slice(0, spansMax))];
  }
}
