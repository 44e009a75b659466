/**
 * Generates a sample from each new checkpoint of a run that is shown on a dashboard. `launch generate` runs in a separate process of
 * low priority while training continues, one at a time, so some checkpoints are skipped if they come faster. A checkpoint is kept on
 * disk until its sample is complete.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { CheckpointStore } from '../checkpoint/store.ts';
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import { LineLog } from '../records/lineLog.ts';

const main = fileURLToPath(new URL('./main.js', import.meta.url));
const textLengthMax = 16_384;

export interface CheckpointSamplesOptions {
  /** samples.jsonl of the run: {step, prompt, text}. */
  readonly path: string;
  /** The checkpoints of the run. */
  readonly store: Pick<CheckpointStore, 'hold'>;
  readonly prompt: string;
  /** Whether samples are targets, which come without their source. */
  readonly isTarget: boolean;
  /** 0 disables samples. */
  readonly maxTokens: number;
  /** The last step, whose sample the run itself writes when it ends; undefined if it writes none. */
  readonly lastStep: number | undefined;
  readonly onWarning: (message: string) => void;
}

export class CheckpointSamples implements Partial<RunListener> {
  readonly #options: CheckpointSamplesOptions;
  readonly #log: LineLog;
  #child: ChildProcess | undefined;
  #released: Promise<void> | undefined;
  #hasWarned = false;
  #isClosed = false;
  #lastStep: number | undefined;

  constructor(options: CheckpointSamplesOptions) {
    this.#options = options;
    this.#lastStep = options.lastStep;
    this.#log = new LineLog(options.path, 'samples', options.onWarning);
  }

  lengthChanged(maxSteps: number): void {
    if (this.#lastStep !== undefined) this.#lastStep = maxSteps;
  }

  checkpoint(outcome: Parameters<RunListener['checkpoint']>[0]): void {
    const { prompt, isTarget, maxTokens } = this.#options;
    if ('error' in outcome || outcome.step === this.#lastStep) return;
    if (this.#child !== undefined || this.#isClosed || maxTokens === 0) return;
    // The prompt comes from the run's config: on the command line, - would mean standard input.
    const args = ['generate', '--checkpoint', outcome.path, '--max-tokens', String(maxTokens)];
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const release = this.#options.store.hold(outcome.step);
    if (child.pid !== undefined) lowerPriority(child.pid);
    const text = collect(child.stdout);
    const problem = collect(child.stderr);
    // A process that could not be started emits `close` as well.
    let failure: string | undefined;
    child.on('error', (error) => {
      failure = error.message;
    });
    child.on('close', (code) => {
      const before = isTarget ? 0 : prompt.length;
      if (code === 0) this.#log.append({ step: outcome.step, prompt, text: text().slice(before).trimEnd() });
      if (code !== 0 && !this.#isClosed) this.#warnOnce(failure ?? problem().trim());
      this.#released = release().then(() => {
        this.#child = undefined;
      });
    });
  }

  /** Stops a sample in progress. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const gone = new Promise((resolve) => child.on('close', resolve));
      child.kill('SIGKILL');
      await gone;
    }
    await this.#released;
    await this.#log.flush();
  }

  #warnOnce(problem: string): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#options.onWarning(`cannot generate a sample from a checkpoint: ${problem}`);
  }
}

function lowerPriority(pid: number): void {
  try {
    // The lowest priority would get almost no time while workers use every core.
    setPriority(pid, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // It has already ended, or this system has no priorities.
  }
}

function collect(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (piece: string) => {
    if (text.length < textLengthMax) text += piece;
  });
  return () => text;
}
