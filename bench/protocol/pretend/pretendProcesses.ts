/** Two processes with pretended workers: those of the first survive, the second can be killed with all of its workers. */
import { type ChildProcess, fork } from 'node:child_process';
import { PeerError } from '../../../src/base/errors.ts';
import type { StateTensor } from '../../../src/base/stateParts.ts';
import type { JoinedWorkers, JoinPlace } from '../../../src/bench/benchRun.ts';
import type { RunKeys } from '../../../src/comm/runKeys.ts';

/** The first message to a process: its workers. */
export interface PretendArguments {
  readonly address: string;
  readonly keys: RunKeys | undefined;
  readonly names: readonly string[];
  /** Number of workers that share an agent; 0: each has its own connection. */
  readonly hostWorkers: number;
  readonly tensors: readonly StateTensor[];
  readonly stateBytes: number;
  readonly heartbeatIntervalMs: number;
}

export type ToPretended =
  | ({ readonly kind: 'join' } & PretendArguments)
  /** The gradients of the step are reduced now. */
  | { readonly kind: 'go'; readonly step: number }
  /** Send heartbeats from now on, each worker at this interval. */
  | { readonly kind: 'beat'; readonly intervalMs: number };

/** The times of a step in one process: when its last worker sent `reduced`, and when its last one received `commit`. */
export interface StepOfProcess {
  readonly step: number;
  readonly reducedAtMs: number;
  readonly atMs: number;
}

export type FromPretended =
  | ({ readonly kind: 'committed' } & StepOfProcess)
  | { readonly kind: 'failed'; readonly message: string };

/** The workers that are lost together: those of a host with many devices. */
export const lostMost = 64;

export class PretendProcesses implements JoinedWorkers {
  readonly #children: { readonly child: ChildProcess; readonly workers: number }[] = [];
  readonly #onCommitted: (times: StepOfProcess) => void;
  /** Rejects when a process fails. */
  readonly failed: Promise<never>;
  #reject: (error: Error) => void = () => {};

  constructor(
    workers: number,
    { coordinatorAddress: address, keys }: JoinPlace,
    model: Pick<PretendArguments, 'hostWorkers' | 'tensors' | 'stateBytes' | 'heartbeatIntervalMs'>,
    onCommitted: (times: StepOfProcess) => void,
  ) {
    this.#onCommitted = onCommitted;
    this.failed = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.failed.catch(() => {}); // reported to callers that await it
    const lost = Math.min(lostMost, Math.floor(workers / 2));
    const names = Array.from({ length: workers }, (_, i) => `pretended-${String(i).padStart(4, '0')}`);
    for (const own of [names.slice(lost), names.slice(0, lost)]) {
      if (own.length > 0) this.#fork({ address, keys, names: own, ...model });
    }
  }

  /** The number of processes that have workers. */
  get count(): number {
    return this.#children.length;
  }

  go(step: number, count = this.count): void {
    for (const { child } of this.#children.slice(0, count)) tell(child, { kind: 'go', step });
  }

  beat(intervalMs: number): void {
    for (const { child } of this.#children) tell(child, { kind: 'beat', intervalMs });
  }

  /** Kills the last process; the number of its workers. */
  loseLast(): number {
    const last = this.#children.pop();
    last?.child.removeAllListeners('exit');
    last?.child.kill('SIGKILL');
    return last?.workers ?? 0;
  }

  kill(): void {
    while (this.#children.length > 0) this.loseLast();
  }

  #fork(own: PretendArguments): void {
    const child = fork(new URL('./pretendProcess.js', import.meta.url));
    child.on('message', (message: FromPretended) => {
      if (message.kind === 'failed') this.#reject(new PeerError(message.message));
      else this.#onCommitted(message);
    });
    child.on('exit', (code, signal) => this.#reject(new PeerError(`a process of workers ended: ${signal ?? code}`)));
    tell(child, { kind: 'join', ...own });
    this.#children.push({ child, workers: own.names.length });
  }
}

function tell(child: ChildProcess, message: ToPretended): void {
  // A process that has ended reports itself.
  child.send(message, () => undefined);
}
