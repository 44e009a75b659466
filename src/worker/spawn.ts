/**
 * Starts workers on this machine: as processes (the usual way), or in this process (`--single-process`: the same agents over
 * in-memory links, each with its own compute thread).
 */
import { type ChildProcess, fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import { invariant } from '../base/errors.ts';
import { FlightRecorder } from '../base/flightRecorder.ts';
import type { Transport } from '../comm/link.ts';
import type { RunKeys } from '../comm/runKeys.ts';
import type { WorkerFailure } from '../comm/workerMessages.ts';
import { Agent } from './agent.ts';
import type { Replica } from './replicaThread.ts';

/** Workers that run on this machine. */
export interface LocalWorkers {
  /** Starts one of {@link StartOptions.localWorkers}, or starts it again. */
  start(worker: string): void;
  /** Ends one at once. */
  kill(worker: string): void;
  /** Asks all to leave the run at the next step boundary. */
  leave(): void;
  /** Ends those that still run and resolves when all are gone; `graceMs` is for those that end by themselves. */
  stop(graceMs: number): Promise<void>;
  /** Resolves as soon as none is left. */
  ended(): Promise<void>;
}

/** How a worker ended. */
export interface WorkerExit {
  /** Its name. */
  readonly worker: string;
  readonly pid: number;
  /** Completes "rank 1 …". */
  readonly description: string;
  /** What it said before, where it said something. */
  readonly failure?: WorkerFailure;
  readonly clean: boolean;
}

export interface StartOptions {
  readonly coordinatorAddress: string;
  /**
   * Names of the workers that share this machine, in the order of its devices: each has that of its place here. One that an earlier
   * program started, and that goes on, keeps its place.
   */
  readonly localWorkers: readonly string[];
  readonly cores: number;
  /** The run's, those for joining. Absent: nothing is encrypted. */
  readonly keys?: RunKeys | undefined;
  /** Where a worker writes what it did last, if it fails or the run does. */
  readonly flightFolder: string;
  readonly onExit: (exit: WorkerExit) => void;
  /** Takes what the processes print, line by line; without it they print where this process does. */
  readonly onOutput?: ((line: string) => void) | undefined;
}

/** What a worker process runs. */
export interface WorkerEntry {
  readonly url: URL;
  /** Behind the id; other users can read them. */
  readonly arguments: readonly string[];
}

const usualEntry: WorkerEntry = { url: new URL('./workerMain.js', import.meta.url), arguments: [] };

/** What a worker process is told, in its first IPC message: other users can read the arguments of a process, but not this. */
export interface WorkerArguments {
  readonly id: string;
  readonly coordinatorAddress: string;
  readonly workersOnHost: number;
  readonly localIndex: number;
  readonly cores: number;
  readonly keys?: RunKeys | undefined;
  readonly flightFolder: string;
}

/**
 * One process to a worker. When this process is killed they go on for as long as they may wait for another coordinator
 * (`comm.rejoinTimeoutMs`), and end by themselves.
 */
export function forkWorkers(
  { localWorkers, onExit, onOutput, ...given }: StartOptions,
  entry = usualEntry,
): LocalWorkers {
  const children = new Map<string, ChildProcess>();
  const waiting: (() => void)[] = [];
  let isStopped = false;
  const gone = (id: string, child: ChildProcess, exit: WorkerExit) => {
    if (children.get(id) !== child) return;
    children.delete(id);
    onExit(exit);
    if (children.size > 0) return;
    for (const resolve of waiting.splice(0)) resolve();
  };
  const ended = () =>
    new Promise<void>((resolve) => {
      if (children.size === 0) resolve();
      else waiting.push(resolve);
    });
  return {
    start(id) {
      if (isStopped || children.has(id)) return;
      const options: WorkerArguments = { id, ...placeOf(id, localWorkers), ...given };
      // The id is for whoever looks at a list of processes.
      const child = fork(entry.url, [JSON.stringify({ id }), ...entry.arguments], {
        // Its own group: Ctrl-C in the terminal reaches the coordinator alone, which ends the run in order.
        detached: true,
        // What a caller of the library gave Node for its own program, a script on the command line or a debugger, is not for workers.
        execArgv: process.execArgv.filter((flag) => !/^--(input-type|inspect)/.test(flag)),
        stdio: onOutput ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      for (const stream of [child.stdout, child.stderr]) {
        if (stream !== null && onOutput !== undefined) createInterface(stream).on('line', onOutput);
      }
      // One that has ended already says so itself.
      child.send(options, () => undefined);
      children.set(id, child);
      const pid = child.pid ?? 0;
      let failure: WorkerFailure | undefined;
      child.on('message', (message) => {
        failure = message as WorkerFailure;
      });
      child.on('error', (error) =>
        gone(id, child, { worker: id, pid, description: `could not be started: ${error.message}`, clean: false }),
      );
      child.on('exit', (code, signal) => gone(id, child, exitOf(id, pid, code, signal, failure)));
    },
    kill: (id) => void children.get(id)?.kill('SIGKILL'),
    leave: () => {
      for (const child of children.values()) child.kill('SIGTERM');
    },
    stop: async (graceMs) => {
      isStopped = true;
      const patience = setTimeout(() => {
        for (const child of children.values()) child.kill('SIGKILL');
      }, graceMs);
      await ended();
      clearTimeout(patience);
    },
    ended,
  };
}

/**
 * All agents in this process, over in-memory links.
 * @param makeReplica what computes; the usual compute thread where it is not given
 */
export function startInProcess(
  { coordinatorAddress, localWorkers, cores, flightFolder, onExit }: StartOptions,
  transport: Transport,
  makeReplica?: () => Replica,
): LocalWorkers {
  const working = new Map<string, Promise<void>>();
  const agents = new Map<string, Agent>();
  const ended = async () => void (await Promise.all(working.values()));
  return {
    start(id) {
      const recorder = new FlightRecorder({ folder: flightFolder, name: id });
      const own = { id, ...placeOf(id, localWorkers), recorder, ...(makeReplica && { makeReplica }) };
      const work = Agent.work({ transport, coordinatorAddress, cores, ...own }, (agent) => agents.set(id, agent)).then(
        (failure) => {
          agents.delete(id);
          const { pid } = process;
          onExit(
            failure === undefined
              ? { worker: id, pid, description: 'has ended', clean: true }
              : failedExit(id, pid, failure),
          );
        },
      );
      working.set(id, work);
    },
    kill: () => {}, // one that hangs hangs this process
    leave: () => {
      for (const agent of agents.values()) agent.leave();
    },
    // In-process agents end with the run: the coordinator's `stop` reaches each of them.
    stop: ended,
    ended,
  };
}

/** Which of the workers of this machine it is: its device depends on nothing else, so that no other can have it. */
function placeOf(worker: string, localWorkers: readonly string[]): { localIndex: number; workersOnHost: number } {
  const localIndex = localWorkers.indexOf(worker);
  invariant(localIndex >= 0, `${worker} is none of the workers of this machine: ${localWorkers.join(', ')}`);
  return { localIndex, workersOnHost: localWorkers.length };
}

function exitOf(
  worker: string,
  pid: number,
  code: number | null,
  signal: NodeJS.Signals | null,
  failure: WorkerFailure | undefined,
): WorkerExit {
  if (failure !== undefined) return failedExit(worker, pid, failure);
  const description = signal === null ? `exited with code ${code}` : `was killed by ${signal}`;
  return { worker, pid, description, clean: code === 0 };
}

function failedExit(worker: string, pid: number, failure: WorkerFailure): WorkerExit {
  return { worker, pid, description: `failed: ${failure.message}`, failure, clean: false };
}
