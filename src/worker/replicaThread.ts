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

/** The interface of an agent's compute thread. */
export type Replica = Pick<ReplicaThread, keyof ReplicaThread>;

/** The code of the compute thread: a module with replicaThreadMain.ts's tasks, and Piscina's `workerData` for it. */
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
  /** The reduced gradients are in the device's own memory. */
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
      // Otherwise the thread sleeps between tasks without its event loop, and takes back no bucket before the next task.
      atomics: 'disabled',
    });
    const { port1, port2 } = new MessageChannel();
    this.#gradients = port1;
    this.#gradientsFar = port2;
    this.#gradients.on('message', ([attempt, bucket]: [number, number]) => {
      // Buckets of an abandoned step may still be in progress.
      if (attempt === this.#wanted[0]) this.#onBucketReady(bucket);
    });
  }

  async build(options: Omit<BuildTask, 'gradientPort' | 'wanted'>): Promise<BuildResult> {
    const task: BuildTask = { ...options, gradientPort: this.#gradientsFar, wanted: this.#wanted };
    const result = await this.#run<BuildResult>('build', task, [this.#gradientsFar]);
    this.#isInPlace = result.isInPlace;
    return result;
  }

  /** @param onBucketReady called with each bucket whose gradients are final on this rank, while backward is still running */
  step(task: Omit<StepTask, 'attempt'>, onBucketReady: (bucket: number) => void): Promise<Sums> {
    this.#onBucketReady = onBucketReady;
    const attempt = Atomics.add(this.#wanted, 0, 1) + 1;
    return this.#run('step', { ...task, attempt });
  }

  /** Abandons the current step: it ends before its next micro-batch. */
  giveUp(): void {
    Atomics.add(this.#wanted, 0, 1);
  }

  /** This bucket of the step holds the sums of all ranks; a device with its own copy may take it back. */
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

  /** The computations since the traced step began. */
  takeSpans(): Promise<Span[]> {
    return this.#run('takeSpans');
  }

  /** Resolves when the copy is complete. It has the state at the time of the call; later requests run beside it. */
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

  /** Ends the thread, at once if it is idle, otherwise when its current kernel returns. */
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

/** The compute thread's message at the other end. @throws PeerError if the thread ends without one */
function outcomeAt(port: MessagePort): Promise<TaskOutcome<void>> {
  const outcome = new Promise<TaskOutcome<void>>((resolve, reject) => {
    port.once('message', resolve);
    port.once('close', () => reject(new PeerError('the compute thread has ended')));
  });
  outcome.catch(() => undefined); // the code that awaits it sees the error
  return outcome;
}
