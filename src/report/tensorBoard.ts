/**
 * `--tensorboard`: follows a run and writes TensorBoard events in the background. A resumed run starts another file in the same folder,
 * which marks later steps in the older files as void. A write error gives one warning and loses events, but never ends the run.
 */
import { mkdir, open, readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import type { EvaluationMetrics, StepMetrics } from '../records/metricsLog.ts';
import { phases } from '../records/rankTimes.ts';
import { type EventContent, encodeRecord } from './eventFile.ts';

/** The required part of a file: `FileHandle` of node:fs/promises. */
export interface EventSink {
  write(bytes: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesWritten: number }>;
  close(): Promise<void>;
}

export interface TensorBoardOptions {
  readonly folder: string;
  /** The last completed step: later ones are written from now on. */
  readonly step: number;
  /** YAML. */
  readonly config: string;
  readonly onWarning: (message: string) => void;
  /** Makes the file. */
  readonly openSink?: (path: string) => Promise<EventSink>;
}

export class TensorBoardLog {
  readonly #options: TensorBoardOptions;
  #sink: EventSink | undefined;
  /** Bytes of complete records: the next write overwrites what a failed one left. */
  #length = 0;
  #pending: Uint8Array[] = [];
  #writing: Promise<void> | undefined;
  #hasWarned = false;
  #lastStep: number;

  constructor(options: TensorBoardOptions) {
    this.#options = options;
    this.#lastStep = options.step;
    this.#append(0, { kind: 'fileVersion' });
    this.#append(options.step + 1, { kind: 'sessionStart' });
    // Four spaces: code, in Markdown.
    this.#append(options.step, { kind: 'text', tag: 'config', text: options.config.replaceAll(/^/gm, '    ') });
  }

  get listener(): Partial<RunListener> {
    return {
      step: (metrics) => {
        // The run went back and repeats these steps.
        if (metrics.step <= this.#lastStep) this.#append(metrics.step, { kind: 'sessionStart' });
        this.#lastStep = metrics.step;
        this.#append(metrics.step, { kind: 'scalars', values: scalarsOf(metrics) });
      },
      evaluated: (metrics) => this.#append(metrics.step, { kind: 'scalars', values: evaluationScalars(metrics) }),
    };
  }

  /** Resolves when everything is written, or has failed. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#sink?.close().catch((error: unknown) => this.#warn(error));
    this.#sink = undefined;
  }

  #append(step: number, content: EventContent): void {
    this.#pending.push(encodeRecord({ timeMs: Date.now(), step, content }));
    this.#writing ??= this.#drain();
  }

  async #drain(): Promise<void> {
    // What comes meanwhile is written together.
    while (this.#pending.length > 0) {
      const records = Buffer.concat(this.#pending);
      this.#pending = [];
      try {
        this.#sink ??= await this.#open();
        await this.#write(this.#sink, records);
        this.#length += records.length;
      } catch (error) {
        this.#warn(error);
      }
    }
    this.#writing = undefined;
  }

  async #open(): Promise<EventSink> {
    const { folder, openSink = (path) => open(path, 'wx') } = this.#options;
    await mkdir(folder, { recursive: true });
    const seconds = String(await this.#nextSecond()).padStart(10, '0');
    const host = hostname().replaceAll(/[^\w.-]/g, '_');
    return await openSink(join(folder, `events.out.tfevents.${seconds}.${host}.${process.pid}.${this.#options.step}`));
  }

  /** TensorBoard reads files in the order of their names, and never goes back: so a clock that was set back must not affect them. */
  async #nextSecond(): Promise<number> {
    const names = await readdir(this.#options.folder);
    const taken = names.map((name) => Number(/^events\.out\.tfevents\.(\d+)\./.exec(name)?.[1] ?? -1));
    return Math.max(Math.floor(Date.now() / 1_000), ...taken.map((second) => second + 1));
  }

  async #write(sink: EventSink, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const { bytesWritten } = await sink.write(bytes, at, bytes.length - at, this.#length + at);
      at += bytesWritten;
    }
  }

  #warn(error: unknown): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#options.onWarning(`cannot write TensorBoard events, training continues: ${messageOf(error)}`);
  }
}

/**
 * Tags are the names of metrics.jsonl; the phases are means over the ranks, in milliseconds. What an objective measures besides its loss
 * is under `train/` and `validation/`.
 */
function scalarsOf({
  loss,
  means,
  lr,
  gradNorm,
  tokensPerSecond,
  ranks,
  ...rest
}: StepMetrics): Record<string, number> {
  const values: Record<string, number> = { loss, lr, gradNorm, tokensPerSecond, ...tagged('train', means) };
  if ('mfu' in rest && typeof rest.mfu === 'number') values['mfu'] = rest.mfu;
  for (const [phase] of phases) {
    const times = ranks.flatMap((rank) => rank[phase] ?? []);
    if (times.length > 0) values[`phases/${phase}`] = times.reduce((sum, time) => sum + time, 0) / times.length;
  }
  return values;
}

function evaluationScalars(metrics: EvaluationMetrics): Record<string, number> {
  const { valLoss, valPerplexity, valBitsPerByte, means } = metrics;
  const perplexity = valPerplexity !== undefined && { valPerplexity };
  const perByte = valBitsPerByte !== undefined && { valBitsPerByte };
  return { valLoss, ...perplexity, ...perByte, ...tagged('validation', means) };
}

function tagged(folder: string, means: Readonly<Record<string, number>> = {}): Record<string, number> {
  return Object.fromEntries(Object.entries(means).map(([name, mean]) => [`${folder}/${name}`, mean]));
}
