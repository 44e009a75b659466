/**
 * The agent's handle on its compute thread: one Piscina thread that holds the replica (replicaThreadMain.ts). Each method is one
 * task; tasks run one after another.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { Batch } from '../base/batch.ts';
import { PeerError } from '../base/errors.ts';
import type { Sums } from '../base/sums.ts';
import type { Span } from '../comm/spans.ts';
import {
  type ApplyTask,
  type BuildResult,
  type BuildTask,
  deviceFlag,
  deviceFlags,
  type EvaluateTask,
  type ExportTask,
  endDevice,
  type ReferenceTask,
  type RolloutTask,
  type StateTask,
  type StepTask,
} from './replicaProtocol.ts';
import { type TaskOutcome, unwrap } from './taskOutcome.ts';

/** The interface of an agent's compute thread. */
export type Replica = Omit<ReplicaThread, 'endDevice' | 'waitForDevice'>;

/** The code of the compute thread: a module with replicaThreadMain.ts's tasks, and Piscina's `workerData` for it. */
export interface ReplicaThreadModule {
  readonly url: URL;
  readonly workerData?: unknown;
}

/** How long an exit waits for the device: a thread that compiles or computes on the host does not answer at once. */
const exitWaitMs = 5_000;

/** Those that have not been closed. */
const openThreads = new Set<ReplicaThread>();

/**
 * The program exits, and Node is about to end its threads. Dawn aborts the process if a thread ends while a GPU still owes it an answer,
 * so each thread ends its device first. Nothing can be awaited at an exit.
 */
function endDevices(): void {
  for (const thread of openThreads) thread.endDevice();
  for (const thread of openThreads) thread.waitForDevice();
}

const usualThread: ReplicaThreadModule = { url: new URL('./replicaThreadMain.js', import.meta.url) };

export class ReplicaThread {
  readonly #pool: Piscina;
  readonly #gradients: MessagePort;
  readonly #gradientsFar: MessagePort;
  /** The requested attempt, and whether the thread has a device of its own (see `BuildTask.wanted`). */
  readonly #wanted = new Int32Array(new SharedArrayBuffer(8));
  #onBucketReady: (bucket: number) => void = () => {};
  /** The reduced gradients are in the device's own memory. */
  #isInPlace = true;
  /** Tasks that have not ended. */
  readonly #running = new Set<Promise<unknown>>();

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
    if (openThreads.size === 0) process.on('exit', endDevices);
    openThreads.add(this);
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

  /** Replaces the reference, which has the initial values of a new replica. */
  takeReference(task: ReferenceTask): Promise<void> {
    return this.#run('takeReference', task);
  }

  /** Checksum of the reference; undefined if it has no parameters of its own. */
  referenceHash(): Promise<string | undefined> {
    return this.#run('referenceHash');
  }

  /** The rollouts of a part, a sample each. */
  rollOut(task: RolloutTask): Promise<Batch> {
    return this.#run('rollOut', task);
  }

  /** The computations since the traced step began. */
  takeSpans(): Promise<Span[]> {
    return this.#run('takeSpans');
  }

  /** Resolves when the copy is complete. It has the state at the time of the call; later requests run beside it. */
  exportState(task: StateTask): Promise<void> {
    return this.#tracked(this.#export(task));
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
    if (this.#running.size === 0) await this.#run('dispose');
    else if (this.#hasDevice) {
      this.endDevice();
      await Promise.allSettled(this.#running);
      await this.#run('dispose'); // a device that was opened since
    }
    openThreads.delete(this);
    if (openThreads.size === 0) process.off('exit', endDevices);
    this.#gradients.close();
    await this.#pool.destroy();
  }

  get #hasDevice(): boolean {
    return Atomics.load(this.#wanted, deviceFlag) === deviceFlags.open;
  }

  /** Requests the end of its device, if it has one. */
  endDevice(): void {
    if (this.#hasDevice) this.#gradients.postMessage(endDevice);
  }

  /** Blocks this thread until the device has ended. */
  waitForDevice(): void {
    if (this.#hasDevice) Atomics.wait(this.#wanted, deviceFlag, deviceFlags.open, exitWaitMs);
  }

  async #export(task: StateTask): Promise<void> {
    const { port1: near, port2: done } = new MessageChannel();
    try {
      const outcome = outcomeAt(near);
      await this.#run('exportState', { ...task, done } satisfies ExportTask, [done]);
      unwrap(await outcome);
    } finally {
      near.close();
    }
  }

  #run<T>(name: string, task: unknown = undefined, transferList: MessagePort[] = []): Promise<T> {
    return this.#tracked(
      this.#pool.run(task, { name, transferList }).then((outcome: TaskOutcome<T>) => unwrap(outcome)),
    );
  }

  async #tracked<T>(task: Promise<T>): Promise<T> {
    this.#running.add(task);
    try {
      return await task;
    } finally {
      this.#running.delete(task);
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
