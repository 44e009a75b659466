/**
 * `trace.json` of a run directory: a timeline of all workers over a few steps in Chrome's trace event format, for ui.perfetto.dev and
 * chrome://tracing. Times are microseconds since the file was created, by the clock of the coordinator's machine.
 *
 * All clocks of one machine agree. For workers on other machines, the smallest apparent delay of a message counts as the difference of
 * the clocks, so their times are exact up to the latency of the fastest message.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { hostname } from 'node:os';
import { messageOf, PeerError } from '../base/errors.ts';
import { type Span, spanTracks } from '../comm/spans.ts';
import type { StepMetrics } from './metricsLog.ts';

/** A worker's report of a step. */
export interface TracedStep {
  readonly member: { readonly worker: string; readonly rank: number; readonly host: string; readonly pid: number };
  readonly term: number;
  readonly step: number;
  readonly spans: readonly Span[];
  /** Number of spans left out. */
  readonly dropped: number;
  /** By the worker's clock, and by ours: milliseconds since 1970. */
  readonly sentAtMs: number;
  readonly receivedAtMs: number;
}

export interface TraceFileOptions {
  readonly path: string;
  /** The steps after `afterStep` that are traced: from the second one on, if there are more, since the first one warms caches up. */
  readonly afterStep: number;
  readonly steps: number;
  readonly maxSteps: number;
  readonly onWarning: (message: string) => void;
}

/** An event of the format. */
type TraceEvent = Readonly<Record<string, unknown>>;

/** The coordinator's process in the timeline; workers follow. */
const coordinatorPid = 0;
const trackNames = {
  agent: 'agent',
  compute: 'kernels',
  device: 'kernels by the device',
  chunks: 'ring chunks',
  buckets: 'ring buckets',
} as const satisfies Record<Span['track'], string>;

export class TraceFile {
  readonly path: string;
  readonly firstStep: number;
  readonly lastStep: number;
  readonly #file: FileHandle;
  readonly #onWarning: (message: string) => void;
  readonly #startMs = performance.timeOrigin + performance.now();
  /** For each worker by name: its process in the timeline, and the lead of its clock over that of this process. */
  readonly #workers = new Map<string, { pid: number; aheadMs: number }>();
  #writing: Promise<void>;
  #hasFailed = false;

  private constructor(file: FileHandle, { path, afterStep, steps, maxSteps, onWarning }: TraceFileOptions) {
    this.path = path;
    this.firstStep = afterStep + (maxSteps - afterStep > steps ? 2 : 1);
    this.lastStep = Math.min(maxSteps, this.firstStep + steps - 1);
    this.#file = file;
    this.#onWarning = onWarning;
    this.#writing = file.appendFile('[\n').catch((error: unknown) => this.#warn(error));
    this.#describe(coordinatorPid, 'coordinator', 0);
  }

  /** Creates or truncates the file. @throws PeerError if it cannot be written */
  static async open(options: TraceFileOptions): Promise<TraceFile> {
    try {
      return new TraceFile(await open(options.path, 'w'), options);
    } catch (error) {
      throw new PeerError(`cannot write ${options.path}: ${messageOf(error)}`);
    }
  }

  isTraced(step: number): boolean {
    return this.firstStep <= step && step <= this.lastStep;
  }

  /** Adds a worker's step to the timeline. */
  add({ member, term, step, spans, dropped, sentAtMs, receivedAtMs }: TracedStep): void {
    const { pid, aheadMs } = this.#workerOf(member, sentAtMs - receivedAtMs);
    const atUs = (ms: number) => Math.round((ms - aheadMs - this.#startMs) * 1_000);
    const events = spans.flatMap((span, i): TraceEvent[] => {
      const common = { name: span.name, pid, tid: spanTracks.indexOf(span.track), ts: atUs(span.startMs) };
      if (span.track !== 'buckets')
        return [{ ...common, ph: 'X', dur: Math.round(span.ms * 1_000), args: { step, term } }];
      // Several at a time: one track each.
      const id = `${pid}.${step}.${i}`;
      const ended = atUs(span.startMs + span.ms);
      return [
        { ...common, ph: 'b', cat: 'ring buckets', id, args: { step, term } },
        { ...common, ph: 'e', cat: 'ring buckets', id, ts: ended },
      ];
    });
    this.#write(events);
    if (dropped > 0)
      this.#onWarning(`${this.path} lacks ${dropped} spans of step ${step} on rank ${member.rank}: too many`);
  }

  /** A step of the run, by the coordinator's clock; to be called when it ends. */
  step({ step, term, loss, tokensPerSecond }: StepMetrics, stepTokens: number): void {
    if (!this.isTraced(step)) return;
    const durationMs = (stepTokens / tokensPerSecond) * 1_000;
    const endMs = performance.timeOrigin + performance.now() - this.#startMs;
    const ts = Math.round((endMs - durationMs) * 1_000);
    const dur = Math.round(durationMs * 1_000);
    this.#write([{ name: `step ${step}`, ph: 'X', pid: coordinatorPid, tid: 0, ts, dur, args: { step, term, loss } }]);
  }

  /** Closes the file as it is: another process now writes it. */
  async abandon(): Promise<void> {
    this.#hasFailed = true;
    await this.#writing;
    await this.#file.close();
  }

  /** Ends the file, which is then complete JSON. */
  async close(): Promise<void> {
    await this.#writing;
    // The list's last element: every other has a comma behind it.
    const end = { name: 'thread_name', ph: 'M', pid: coordinatorPid, tid: 0, args: { name: 'steps' } };
    await this.#file.appendFile(`${JSON.stringify(end)}\n]\n`).catch((error: unknown) => this.#warn(error));
    await this.#file.close();
  }

  #workerOf({ worker, rank, host, pid: process }: TracedStep['member'], seemsAheadMs: number) {
    let known = this.#workers.get(worker);
    if (known === undefined) {
      known = { pid: this.#workers.size + 1, aheadMs: host === hostname() ? 0 : seemsAheadMs };
      this.#workers.set(worker, known);
      this.#describe(known.pid, `rank ${rank}: ${worker}, pid ${process} on ${host}`, rank + 1);
      this.#write(
        spanTracks.map((track, tid) => {
          return { name: 'thread_name', ph: 'M', pid: known?.pid, tid, args: { name: trackNames[track] } };
        }),
      );
    }
    // A late message makes a clock seem behind.
    if (host !== hostname()) known.aheadMs = Math.max(known.aheadMs, seemsAheadMs);
    return known;
  }

  #describe(pid: number, name: string, order: number): void {
    this.#write([
      { name: 'process_name', ph: 'M', pid, args: { name } },
      { name: 'process_sort_index', ph: 'M', pid, args: { sort_index: order } },
    ]);
  }

  #write(events: readonly TraceEvent[]): void {
    const lines = events.map((event) => `${JSON.stringify(event)},\n`).join('');
    this.#writing = this.#writing
      .then(() => (this.#hasFailed ? undefined : this.#file.appendFile(lines)))
      .catch((error: unknown) => this.#warn(error));
  }

  #warn(error: unknown): void {
    if (!this.#hasFailed) this.#onWarning(`cannot write ${this.path}: ${messageOf(error)}. The trace ends here.`);
    this.#hasFailed = true;
  }
}
