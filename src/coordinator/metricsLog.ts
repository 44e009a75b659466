/**
 * `metrics.jsonl` of a run directory: one JSON object a line. A step line has step, loss, lr, gradNorm, tokens (trained on
 * so far), tokensPerSecond, epoch and the phase times of each rank; a validation line has step and valLoss.
 */
import { appendFile, readFile, rename, writeFile } from 'node:fs/promises';
import { errorCode, messageOf, PeerError } from '../base/errors.ts';
import type { StepTimings } from '../comm/protocol.ts';

export interface StepMetrics {
  /** 1 is the first. */
  readonly step: number;
  /** Mean over the targets of the global batch, before the update. */
  readonly loss: number;
  readonly lr: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly tokens: number;
  readonly tokensPerSecond: number;
  readonly epoch: number;
  readonly ranks: readonly (StepTimings & { readonly rank: number; readonly ringBytesSent: number })[];
  /** The same on every rank; present every `train.hashEverySteps` steps. */
  readonly parameterHash?: string;
}

export interface EvaluationMetrics {
  readonly step: number;
  readonly valLoss: number;
  readonly valTargets: number;
}

export class MetricsLog {
  readonly #path: string;
  readonly #onWarning: (message: string) => void;
  #pending: string[] = [];
  #writing: Promise<void> | undefined;
  #failed = false;
  #torn = false;

  private constructor(path: string, onWarning: (message: string) => void) {
    this.#path = path;
    this.#onWarning = onWarning;
  }

  /**
   * Opens the log, dropping lines after `step`: a resumed run writes those steps again.
   * @throws PeerError if it cannot be read or written
   */
  static async open(path: string, step: number, onWarning: (message: string) => void): Promise<MetricsLog> {
    try {
      const text = step === 0 ? '' : await readIfThere(path);
      const kept = text.split('\n').filter((line) => stepOf(line) <= step);
      // Beside and renamed: a crash here must not lose the lines that are kept.
      await writeFile(`${path}.new`, kept.map((line) => `${line}\n`).join(''));
      await rename(`${path}.new`, path);
    } catch (error) {
      throw new PeerError(`cannot open ${path}: ${messageOf(error)}`);
    }
    return new MetricsLog(path, onWarning);
  }

  /** Queues a line. A disk that refuses it is reported once; the run goes on. */
  append(line: StepMetrics | EvaluationMetrics): void {
    this.#pending.push(`${JSON.stringify(line)}\n`);
    this.#writing ??= this.#drain();
  }

  /** Resolves when every line is written. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      // A write that failed may have left part of a line.
      const lines = `${this.#torn ? '\n' : ''}${this.#pending.join('')}`;
      this.#pending = [];
      try {
        await appendFile(this.#path, lines);
        this.#torn = false;
      } catch (error) {
        if (!this.#failed)
          this.#onWarning(`cannot write ${this.#path}: ${messageOf(error)}; metrics are lost until it can`);
        this.#failed = true;
        this.#torn = true;
      }
    }
    this.#writing = undefined;
  }
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    // Any other error would lose what the run has measured so far.
    if (errorCode(error) === 'ENOENT') return '';
    throw error;
  }
}

/** The step of a line; a torn last line counts as none to keep. */
function stepOf(line: string): number {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null && 'step' in value && typeof value.step === 'number')
      return value.step;
  } catch {
    // Torn by a crash in the middle of a write.
  }
  return Number.POSITIVE_INFINITY;
}
