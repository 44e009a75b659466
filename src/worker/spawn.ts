/**
 * Starts workers on this machine: as processes (the usual way), or in this process (`--single-process`: the same agents over
 * in-memory links, each with its own compute thread).
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { invariant } from '../base/errors.ts';
import { FlightRecorder } from '../base/flightRecorder.ts';
import type { Transport } from '../comm/link.ts';
import type { RingPlace } from '../comm/ringPlace.ts';
import type { RunKeys } from '../comm/runKeys.ts';
import type { WorkerFailure } from '../comm/workerMessages.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { Agent } from './agent.ts';
import type { JobNodeStart } from './coordinatorLink.ts';
import { HostAgent } from './hostAgent.ts';
import { isOfHost, serveHost } from './hostChannel.ts';
import { channelToWorker } from './processChannel.ts';
import type { Replica } from './replicaThread.ts';
import { endOfCode, type RunEnd } from './runEnd.ts';

/** Workers that run on this machine. */
export interface LocalWorkers {
  /** Starts one of {@link StartOptions.localWorkers}, or starts it again. */
  start(worker: string): void;
  /** Ends one immediately. */
  kill(worker: string): void;
  /** Asks all to leave the run at the next step boundary. */
  leave(): void;
  /** Ends those still running and resolves when all have ended; `graceMs` is the time to end by themselves. */
  stop(graceMs: number): Promise<void>;
  /** Resolves when the last one has ended. */
  ended(): Promise<void>;
}

/** The end of a worker. */
export interface WorkerExit {
  /** Its name. */
  readonly worker: string;
  readonly pid: number;
  /** Completes "rank 1 …". */
  readonly description: string;
  /** Its earlier report of a failure, if any. */
  readonly failure?: WorkerFailure;
  readonly clean: boolean;
  /** How its run ended; absent if the worker ended in another way. */
  readonly runEnd?: RunEnd | undefined;
  /** It was asked to leave, and the run continues without it. */
  readonly hasLeft?: boolean;
}

export interface StartOptions {
  readonly coordinatorAddress: string;
  /** Where the coordinator listens, for workers on its machine: their ring ends listen there too. Absent for those of `launch join`. */
  readonly ringHost?: string | undefined;
  /**
   * Names of the workers on this machine, in the order of its devices: each worker uses the device at its index. A worker that an earlier
   * program started and that still runs keeps its place.
   */
  readonly localWorkers: readonly string[];
  readonly cores: number;
  /** The run's keys for joining. Absent: nothing is encrypted. */
  readonly keys?: RunKeys | undefined;
  /** Where ring ends may listen, if that is restricted. */
  readonly ring?: RingPlace | undefined;
  /** Whether they share one connection to the coordinator, which this process has (hostAgent.ts). Default: each has its own. */
  readonly throughHost?: boolean;
  /** Where a worker writes its last events if it or the run fails. */
  readonly flightFolder: string;
  /** Whether SIGTERM to a worker makes it leave the run; default true. False where a scheduler sends it to all processes of a job. */
  readonly leavesOnSignal?: boolean | undefined;
  /** The node of a job that they belong to; absent if their machine has none. */
  readonly node?: JobNodeStart | undefined;
  readonly onExit: (exit: WorkerExit) => void;
  /** Receives the processes' output line by line; without it they print to this process's output. */
  readonly onOutput?: ((line: string) => void) | undefined;
}

/** The program of a worker process. */
export interface WorkerEntry {
  readonly url: URL;
  /** Arguments after the id, which other users can read. */
  readonly arguments: readonly string[];
}

const usualEntry: WorkerEntry = { url: new URL('./workerMain.js', import.meta.url), arguments: [] };

/** A worker process's first IPC message, with data that other users must not read in the process's arguments. */
export interface WorkerArguments {
  readonly id: string;
  readonly coordinatorAddress: string;
  readonly ringHost?: string | undefined;
  readonly workersOnHost: number;
  readonly localIndex: number;
  readonly cores: number;
  readonly keys?: RunKeys | undefined;
  readonly ring?: RingPlace | undefined;
  readonly throughHost?: boolean | undefined;
  readonly flightFolder: string;
  readonly leavesOnSignal?: boolean | undefined;
  readonly node?: JobNodeStart | undefined;
}

/** A later IPC message: leave the run at the next step boundary. */
export const leaveMessage = 'leave';

/**
 * One process per worker. If this process is killed, they keep running for as long as they may wait for another coordinator
 * (`comm.rejoinTimeoutMs`), and then end by themselves.
 */
export function forkWorkers(
  { localWorkers, onExit, onOutput, ...given }: StartOptions,
  entry = usualEntry,
): LocalWorkers {
  const children = new Map<string, ChildProcess>();
  const waiting: (() => void)[] = [];
  let agent: HostAgent | undefined;
  let isStopped = false;
  const gone = (id: string, child: ChildProcess, exit: WorkerExit) => {
    if (children.get(id) !== child) return;
    children.delete(id);
    onExit(exit);
    if (children.size > 0) return;
    void agent?.close();
    agent = undefined;
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
      // The id is for people who look at a list of processes.
      const child = fork(entry.url, [JSON.stringify({ id }), ...entry.arguments], {
        // Its own group, so that Ctrl-C reaches only the coordinator, which ends the run in order.
        detached: true,
        // Node options of a library user's program, such as a script on the command line or a debugger, are not for workers.
        execArgv: process.execArgv.filter((flag) => !/^--(input-type|inspect)/.test(flag)),
        stdio: onOutput ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'inherit', 'inherit', 'ipc'],
        serialization: 'advanced',
        env: withoutSecrets(process.env),
      });
      for (const stream of [child.stdout, child.stderr]) {
        if (stream !== null && onOutput !== undefined) createInterface(stream).on('line', onOutput);
      }
      // One that has already ended reports itself.
      child.send(options, () => undefined);
      children.set(id, child);
      const pid = child.pid ?? 0;
      let failure: WorkerFailure | undefined;
      child.on('message', (message) => {
        if (!isOfHost(message)) failure = message as WorkerFailure;
      });
      if (given.throughHost === true) {
        agent ??= newHostAgent(given);
        serveHost(agent, channelToWorker(child));
      }
      child.on('error', (error) =>
        gone(id, child, { worker: id, pid, description: `could not be started: ${error.message}`, clean: false }),
      );
      child.on('exit', (code, signal) => gone(id, child, exitOf(id, pid, code, signal, failure)));
    },
    kill: (id) => void children.get(id)?.kill('SIGKILL'),
    leave: () => {
      // A message that can no longer be sent is for a worker that has ended.
      for (const child of children.values()) child.send(leaveMessage, () => undefined);
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
 * The environment of a worker. It gets the keys that it needs in its arguments, and only its coordinator uses an object store: others
 * must not read these in the environment of its process, or what it writes when it crashes.
 */
export function withoutSecrets(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isSecret = (name: string) => /^(AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN|LOCKSTEP_\w*KEY)$/i.test(name);
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isSecret(name)));
}

function newHostAgent({ coordinatorAddress, keys }: Pick<StartOptions, 'coordinatorAddress' | 'keys'>): HostAgent {
  const name = `agent.${process.pid}.${randomBytes(4).toString('hex')}`;
  return new HostAgent({ transport: zmqTransport({ keys }), coordinatorAddress, name });
}

/**
 * All agents in this process, connected by in-memory links.
 * @param makeReplica creates the replicas; default: the usual compute thread
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
    kill: () => {}, // nothing can interrupt one that hangs in this process
    leave: () => {
      for (const agent of agents.values()) agent.leave();
    },
    // In-process agents end with the run: the coordinator's `stop` reaches each of them.
    stop: ended,
    ended,
  };
}

/** The worker's index on this machine. Its device depends on it alone, so that no two workers share one. */
function placeOf(worker: string, localWorkers: readonly string[]): { localIndex: number; workersOnHost: number } {
  const localIndex = localWorkers.indexOf(worker);
  invariant(localIndex >= 0, `${worker} is not one of the workers of this machine: ${localWorkers.join(', ')}`);
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
  const end = endOfCode(code);
  return { worker, pid, description, clean: end.runEnd !== undefined, ...end };
}

function failedExit(worker: string, pid: number, failure: WorkerFailure): WorkerExit {
  return { worker, pid, description: `failed: ${failure.message}`, failure, clean: false };
}
