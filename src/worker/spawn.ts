/**
 * Starts workers on this machine: as processes (the usual way), or in this process (`--single-process`: the same agents over
 * in-memory links, each with its own compute thread).
 */
import { type ChildProcess, fork } from 'node:child_process';
import type { Transport } from '../comm/link.ts';
import type { WorkerFailure } from '../comm/protocol.ts';
import type { RunKeys } from '../comm/runKeys.ts';
import { Agent } from './agent.ts';

/** Workers that run on this machine. */
export interface LocalWorkers {
  /** Ends those that still run and resolves when all are gone; `graceMs` is for those that end by themselves. */
  stop(graceMs: number): Promise<void>;
  /** Resolves when all have ended by themselves. */
  readonly ended: Promise<void>;
}

/** How a worker ended. */
export interface WorkerExit {
  readonly id: string;
  /** Completes "rank 1 …". */
  readonly description: string;
  /** What it said before, where it said something. */
  readonly failure?: WorkerFailure;
  readonly clean: boolean;
}

export interface StartOptions {
  readonly ids: readonly string[];
  readonly coordinatorAddress: string;
  readonly cores: number;
  /** The run's, those for joining. Absent: nothing is encrypted. */
  readonly keys?: RunKeys | undefined;
  readonly onExit: (exit: WorkerExit) => void;
}

/** What a worker process is told, in its first IPC message: other users can read the arguments of a process, but not this. */
export interface WorkerArguments {
  readonly id: string;
  readonly coordinatorAddress: string;
  readonly workersOnHost: number;
  readonly cores: number;
  readonly keys?: RunKeys | undefined;
}

/** One process to a worker. They end when this process ends, however it ends: they watch its IPC channel. */
export function forkWorkers({ ids, coordinatorAddress, cores, keys, onExit }: StartOptions): LocalWorkers {
  const children = ids.map((id) => {
    const options: WorkerArguments = { id, coordinatorAddress, workersOnHost: ids.length, cores, keys };
    // The id is for whoever looks at a list of processes.
    const child = fork(new URL('./worker.main.js', import.meta.url), [id], {
      // Its own group: Ctrl-C in the terminal reaches the coordinator alone, which ends the run in order.
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    // One that has ended already says so itself.
    child.send(options, () => undefined);
    child.on('error', (error) => onExit({ id, description: `could not be started: ${error.message}`, clean: false }));
    let failure: WorkerFailure | undefined;
    child.on('message', (message) => {
      failure = message as WorkerFailure;
    });
    child.on('exit', (code, signal) => onExit(exitOf(id, code, signal, failure)));
    return child;
  });
  const ended = Promise.all(children.map(whenGone)).then(() => {});
  return {
    ended,
    stop: async (graceMs) => {
      const patience = setTimeout(() => {
        for (const child of children) if (isRunning(child)) child.kill('SIGKILL');
      }, graceMs);
      await ended;
      clearTimeout(patience);
    },
  };
}

/** All agents in this process, over in-memory links. */
export function startInProcess(
  { ids, coordinatorAddress, cores, onExit }: StartOptions,
  transport: Transport,
): LocalWorkers {
  const ended = Promise.all(
    ids.map(async (id) => {
      const failure = await Agent.work({ transport, coordinatorAddress, id, workersOnHost: ids.length, cores });
      onExit(failure === undefined ? { id, description: 'has ended', clean: true } : failedExit(id, failure));
    }),
  ).then(() => {});
  // In-process agents end with the run: the coordinator's `stop` reaches each of them.
  return { ended, stop: () => ended };
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

function whenGone(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (!isRunning(child)) resolve();
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
}

function exitOf(
  id: string,
  code: number | null,
  signal: NodeJS.Signals | null,
  failure: WorkerFailure | undefined,
): WorkerExit {
  if (failure !== undefined) return failedExit(id, failure);
  const description = signal === null ? `exited with code ${code}` : `was killed by ${signal}`;
  return { id, description, clean: code === 0 };
}

function failedExit(id: string, failure: WorkerFailure): WorkerExit {
  return { id, description: `failed: ${failure.message}`, failure, clean: false };
}
