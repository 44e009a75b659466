/**
 * The agent's handle on its compute thread: one Piscina thread that holds the replica (replicaThreadMain.ts). Each method is one
 * task; tasks run one after another.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { PeerError } from '../base/errors.ts';
import type { Sums } from '../base/sums.ts';
import type { Span } from '../comm/spans.ts';
import type {
  ApplyTask,
  BuildResult,
  BuildTask,
  EvaluateTask,
  ExportTask,
  StateTask,
  StepTask,
} from './replicaProtocol.ts';
import { type TaskOutcome, unwrap } from './taskOutcome.ts';

/** What an agent asks of what computes. */
export type Replica = Pick<ReplicaThread, keyof ReplicaThread>;

/** What runs on the compute thread: a module with the tasks of replicaThreadMain.ts, and what Piscina hands it as `workerData`. */
export interface ReplicaThreadModule {
  readonly url: URL;
  readonly workerData?: unknown;
}

const usualThread: ReplicaThreadModule = { url: new URL('./replicaThreadMain.js', import.meta.url) };

export class ReplicaThread {
  readonly #pool: Piscina;
  readonly #gradients: MessagePort;
  readonly #gradientsFar: MessagePort;
  readonly #wanted = new Int32Array(new SharedArrayBuffer(4));
  #onBucketReady: (bucket: number) => void = () => {};
  /** The gradients that are reduced are the device's own. */
  #isInPlace = true;
  /** Tasks that have not ended. */
  #running = 0;

  constructor({ url, workerData }: ReplicaThreadModule = usualThread) {
    this.#pool = new Piscina({
      filename: url.href,
      workerData,
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      // Else the thread sleeps between tasks without its event loop, and takes no bucket back before the next one.
      atomics: 'disabled',
    });
    const { port1, port2 } = new MessageChannel();
    this.#gradients = port1;
    this.#gradientsFar = port2;
    this.#gradients.on('message', ([attempt, bucket]: [number, number]) => {
      // Of a step that was given up, some may still be under way.
      if (attempt === this.#wanted[0]) this.#onBucketReady(bucket);
    });
  }

  async build(options: Omit<BuildTask, 'gradientPort' | 'wanted'>): Promise<BuildResult> {
    const task: BuildTask = { ...options, gradientPort: this.#gradientsFar, wanted: this.#wanted };
    const result = await this.#run<BuildResult>('build', task, [this.#gradientsFar]);
    this.#isInPlace = result.isInPlace;
    return result;
  }

  /** @param onBucketReady told each bucket whose gradients are final on this rank, while backward is still running */
  step(task: Omit<StepTask, 'attempt'>, onBucketReady: (bucket: number) => void): Promise<Sums> {
    this.#onBucketReady = onBucketReady;
    const attempt = Atomics.add(this.#wanted, 0, 1) + 1;
    return this.#run('step', { ...task, attempt });
  }

  /** Gives up the step that is running: it ends before its next microbatch. */
  giveUp(): void {
    Atomics.add(this.#wanted, 0, 1);
  }

  /** This bucket of the step holds the sums of all ranks: what has its own copy of it may take it back. */
  reduced(bucket: number): void {
    if (!this.#isInPlace) this.#gradients.postMessage([this.#wanted[0], bucket]);
  }

  gradNorm(): Promise<number> {
    return this.#run('gradNorm');
  }

  apply(task: ApplyTask): Promise<void> {
    return this.#run('apply', task);
  }

  evaluate(task: EvaluateTask): Promise<Sums> {
    return this.#run('evaluate', task);
  }

  /** What was computed since the step that is traced began. */
  takeSpans(): Promise<Span[]> {
    return this.#run('takeSpans');
  }

  /** Resolves when the copy is whole. It is of the state at this moment: what is asked for meanwhile runs beside it. */
  async exportState(task: StateTask): Promise<void> {
    const { port1: near, port2: done } = new MessageChannel();
    this.#running++;
    try {
      const outcome = outcomeAt(near);
      await this.#run('exportState', { ...task, done } satisfies ExportTask, [done]);
      unwrap(await outcome);
    } finally {
      this.#running--;
      near.close();
    }
  }

  importState(task: StateTask): Promise<void> {
    return this.#run('importState', task);
  }

  parameterHash(): Promise<string> {
    return this.#run('parameterHash');
  }

  stateHash(): Promise<string> {
    return this.#run('stateHash');
  }

  /** Ends the thread, at once if it is idle, else as soon as the kernel that it runs returns. */
  async close(): Promise<void> {
    if (this.#running === 0) await this.#run('dispose');
    this.#gradients.close();
    await this.#pool.destroy();
  }

  async #run<T>(name: string, task: unknown = undefined, transferList: MessagePort[] = []): Promise<T> {
    this.#running++;
    try {
      const outcome: TaskOutcome<T> = await this.#pool.run(task, { name, transferList });
      return unwrap(outcome);
    } finally {
      this.#running--;
    }
  }
}

/** What the compute thread posts to the other end. @throws PeerError if it ends without */
function outcomeAt(port: MessagePort): Promise<TaskOutcome<void>> {
  const outcome = new Promise<TaskOutcome<void>>((resolve, reject) => {
    port.once('message', resolve);
    port.once('close', () => reject(new PeerError('the compute thread has ended')));
  });
  outcome.catch(() => undefined); // whoever waits for it is told
  return outcome;
}
