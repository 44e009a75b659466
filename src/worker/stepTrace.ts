/** The agent's timeline of a step: the duration of each part and, in a traced step, the activity of the ring. */
import type { Clock } from '../base/clock.ts';
import { invariant } from '../base/errors.ts';
import type { RingObserver } from '../comm/ringStep.ts';
import { encodeSpans, type Span, spansMax } from '../comm/spans.ts';
import type { WorkerMessageOf } from '../comm/workerMessages.ts';

/** The parts of a step on the agent's thread, in order. */
const stepParts = [
  'wait for data',
  'forward and backward',
  'wait for the ring',
  'gradient norm',
  'wait for commit',
  'optimizer',
] as const;
type StepPart = (typeof stepParts)[number];

/** The end times of a step's parts. */
export class StepTimeline {
  readonly #clock: Clock;
  /** The beginning, then the end of each part. */
  readonly #timesMs: number[];

  /** The step begins now. */
  constructor(clock: Clock) {
    this.#clock = clock;
    this.#timesMs = [clock.monotonic()];
  }

  /** The next part has ended. Its name is for readers, and must follow the order of `stepParts`. */
  ended(part: StepPart): void {
    invariant(stepParts[this.#timesMs.length - 1] === part, `the next part of a step is not "${part}"`);
    this.#timesMs.push(this.#clock.monotonic());
  }

  /** The parts that have ended. */
  *parts(): Generator<{ part: StepPart; startMs: number; endMs: number }> {
    for (let i = 1; i < this.#timesMs.length; i++) {
      yield { part: stepParts[i - 1]!, startMs: this.#timesMs[i - 1]!, endMs: this.#timesMs[i]! };
    }
  }

  /** The durations reported by `applied`. */
  timings(): WorkerMessageOf<'applied'>['timings'] {
    const [dataWaitMs = 0, forwardBackwardMs = 0, ringWaitMs = 0, normMs = 0, commitWaitMs = 0, updateMs = 0] = [
      ...this.parts(),
    ].map(({ startMs, endMs }) => endMs - startMs);
    return { dataWaitMs, forwardBackwardMs, ringWaitMs, commitWaitMs, optimizerMs: normMs + updateMs };
  }
}

export class StepTrace {
  readonly #spans: Span[] = [];

  /** The ring's buckets and chunks. */
  readonly ring: RingObserver = {
    bucket: (bucket, startMs, endMs) => this.add('buckets', `bucket ${bucket}`, startMs, endMs),
    chunk: ({ phase, bucket, segment, chunk }, startMs, endMs) => {
      const name = phase === 'reduceScatter' ? 'reduce-scatter' : 'all-gather';
      this.add('chunks', `${name} ${bucket}.${segment}.${chunk}`, startMs, endMs);
    },
  };

  /** @param startMs and endMs are on this thread's monotonic clock */
  add(track: Span['track'], name: string, startMs: number, endMs: number): void {
    this.#spans.push({ track, name, startMs: performance.timeOrigin + startMs, ms: endMs - startMs });
  }

  /** The message that reports it, with its payload. */
  message(
    { term, step }: { term: number; step: number },
    timeline: StepTimeline,
    computed: readonly Span[],
  ): [WorkerMessageOf<'trace'>, Uint8Array] {
    for (const { part, startMs, endMs } of timeline.parts()) this.add('agent', part, startMs, endMs);
    const all = [...this.#spans, ...computed];
    const sentAtMs = performance.timeOrigin + performance.now();
    const dropped = Math.max(0, all.length - spansMax);
    return [{ type: 'trace', term, step, sentAtMs, dropped }, encodeSpans(all.slice(0, spansMax))];
  }
}
