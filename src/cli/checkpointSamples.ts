/**
 * Text from each checkpoint of a run that is looked at, as it is written: made by `launch generate` in a process of its own, with a
 * low priority, while training goes on; one at a time, so that of checkpoints that come faster some have none. A checkpoint stays on
 * the disk until its text is made.
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
  /** Has the run's checkpoints. */
  readonly store: Pick<CheckpointStore, 'hold'>;
  readonly prompt: string;
  /** 0: none. */
  readonly maxTokens: number;
  /** The step whose sample ends the run, and is kept then; undefined: none does. */
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

  constructor(options: CheckpointSamplesOptions) {
    this.#options = options;
    this.#log = new LineLog(options.path, 'samples', options.onWarning);
  }

  checkpoint(outcome: Parameters<RunListener['checkpoint']>[0]): void {
    const { prompt, maxTokens, lastStep } = this.#options;
    if ('error' in outcome || outcome.step === lastStep) return;
    if (this.#child !== undefined || this.#isClosed || maxTokens === 0) return;
    // Its prompt is the run's: on the command line - would be standard input.
    const args = ['generate', '--checkpoint', outcome.path, '--max-tokens', String(maxTokens)];
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    const release = this.#options.store.hold(outcome.step);
    if (child.pid !== undefined) lowerPriority(child.pid);
    const text = collect(child.stdout);
    const problem = collect(child.stderr);
    // A process that could not be started closes, too.
    let failure: string | undefined;
    child.on('error', (error) => {
      failure = error.message;
    });
    child.on('close', (code) => {
      if (code === 0) this.#log.append({ step: outcome.step, prompt, text: text().slice(prompt.length).trimEnd() });
      if (code !== 0 && !this.#isClosed) this.#warnOnce(failure ?? problem().trim());
      this.#released = release().then(() => {
        this.#child = undefined;
      });
    });
  }

  /** Ends a sample that is being made. */
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
    this.#options.onWarning(`no sample of a checkpoint: ${problem}`);
  }
}

function lowerPriority(pid: number): void {
  try {
    // The lowest would get next to nothing beside workers that take every core.
    setPriority(pid, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // It has ended already, or this system has no such thing.
  }
}

function collect(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (piece: string) => {
    if (text.length < textLengthMax) text += piece;
  });
  return () => text;
}
