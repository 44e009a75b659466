/**
 * A real run for a bench: `launch`'s coordinator in this process, worker processes, ZeroMQ sockets, keys, and a run directory with its
 * journal in the system's temporary folder. The bench chooses the workers' engine.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { availableCores } from '../base/cores.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import type { ControlServer } from '../comm/link.ts';
import { joinKeysOf, newRunKeys, type RunKeys } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import type { Config } from '../config/configTypes.ts';
import type { StoredState } from '../coordinator/checkpointer.ts';
import { Coordinator } from '../coordinator/coordinator.ts';
import { allListeners, type RunListener } from '../coordinator/coordinatorOptions.ts';
import { decide } from '../coordinator/core/decide.ts';
import type { Decision } from '../coordinator/core/effects.ts';
import type { RunEvent } from '../coordinator/core/runEvents.ts';
import { openDataset } from '../data/openDataset.ts';
import { textRunData } from '../data/textRunData.ts';
import { EventsLog } from '../records/eventsLog.ts';
import { Journal } from '../records/journal.ts';
import { MetricsLog } from '../records/metricsLog.ts';
import { forkWorkers, type WorkerEntry, type WorkerExit } from '../worker/spawn.ts';
import { localNames } from '../worker/workerNames.ts';
import { withTemporaryFolder } from './temporaryFolder.ts';

export interface BenchRunOptions {
  /** `train.workers` is the number of processes to start. */
  readonly config: Config;
  /** Whether the sockets are encrypted, as `launch` does without `--no-encrypt`. */
  readonly encrypted: boolean;
  /** The run waits for one more worker than it has, so that no step begins. */
  readonly idle?: boolean;
  /** Cores that the workers share. Default: all. */
  readonly cores?: number;
  /** The program of a worker process. Default: the one that `launch` starts. */
  readonly entry?: WorkerEntry;
  /** Starts workers that join from elsewhere, instead of `train.workers` processes; the run then continues when it loses some. */
  readonly join?: (place: JoinPlace) => JoinedWorkers;
  /** Replaces the coordinator's link, for example by one that counts. */
  readonly linkOf?: (server: ControlServer) => ControlServer;
  /** What the run resumes from. */
  readonly resume?: StoredState;
  /** Called with every event of the run, once it is decided. */
  readonly observe?: Observer;
  readonly listener?: Partial<RunListener>;
  readonly onWarning: (message: string) => void;
}

export type Observer = (event: RunEvent, decision: Decision) => void;

/** Where workers join. */
export interface JoinPlace {
  readonly coordinatorAddress: string;
  readonly keys: RunKeys | undefined;
}

export interface JoinedWorkers {
  /** Ends them at once. */
  kill(): void;
}

export interface BenchRun {
  readonly config: Config;
  /** The run directory. */
  readonly folder: string;
  /** Rejects when the run fails. */
  readonly finished: Promise<number>;
  /** Ends an idle run. */
  stop(): void;
}

/** Time that workers have to end by themselves after the run. */
const stopGraceMs = 3_000;

/** Starts a run and passes it to `body`. Leaves no process or file behind, even if a signal ends this process. */
export async function withBenchRun<T>(options: BenchRunOptions, body: (run: BenchRun) => Promise<T>): Promise<T> {
  const { config } = options;
  const dataset = await openDataset(config.data, {
    blockSize: config.model.blockSize,
    validates: false,
    cwd: process.cwd(),
  });
  return await withTemporaryFolder('lockstep-bench-', async (folder, interrupted) => {
    const keys = options.encrypted ? newRunKeys() : undefined;
    const listening = await zmqTransport({ log: options.onWarning, keys }).listen('tcp://127.0.0.1:0');
    const server = options.linkOf?.(listening) ?? listening;
    const count = config.train.workers;
    const isJoined = options.join !== undefined;
    const localWorkers = localNames(isJoined ? 0 : count);
    let coordinator: Coordinator | undefined;
    const start = {
      coordinatorAddress: server.address,
      ringHost: '127.0.0.1',
      localWorkers,
      cores: options.cores ?? availableCores(),
      flightFolder: join(folder, 'flight'),
      keys: keys && joinKeysOf(keys),
      onExit: (exit: WorkerExit) => coordinator?.workerExited(exit),
    };
    const workers = forkWorkers(start, options.entry);
    const joined = options.join?.({ coordinatorAddress: server.address, keys: start.keys });
    const kill = () => {
      for (const worker of localWorkers) workers.kill(worker);
      joined?.kill();
    };
    interrupted.addEventListener('abort', kill);
    try {
      const { idle = false, onWarning } = options;
      const worldSize = idle ? count + 1 : count;
      const started = new Coordinator({
        config,
        data: textRunData(dataset, config.model.blockSize),
        server,
        localWorkers,
        worldSize,
        minWorkers: isJoined ? 1 : worldSize,
        open: idle || isJoined,
        ...(options.resume && { resume: options.resume }),
        restartsMax: 0,
        ...(await logsIn(folder, server.address, onWarning)),
        startWorker: (worker) => workers.start(worker),
        killWorker: (worker) => workers.kill(worker),
        token: keys?.token,
        listener: allListeners([options.listener ?? {}, warnings(onWarning)]),
        decide: (state, event, nowMs) => {
          const decision = decide(state, event, nowMs);
          options.observe?.(event, decision);
          return decision;
        },
      });
      coordinator = started;
      for (const worker of localWorkers) workers.start(worker);
      return await body({ config, folder, finished: started.finished, stop: () => started.requestStop() });
    } finally {
      await workers.stop(stopGraceMs);
      // Before workers that joined are gone: a closed coordinator decides nothing about their loss.
      await coordinator?.close();
      joined?.kill();
      await server.close();
      interrupted.removeEventListener('abort', kill);
    }
  });
}

/** Writes the same records as `launch`. */
async function logsIn(folder: string, address: string, onWarning: (message: string) => void) {
  const runId = randomUUID();
  const journal = Journal.create(join(folder, 'journal.jsonl'), onWarning);
  journal.append({ kind: 'run', format: 2, runId, address });
  return {
    runId,
    journal,
    store: new CheckpointStore(join(folder, 'checkpoints'), { onWarning }),
    metrics: await MetricsLog.open(join(folder, 'metrics.jsonl'), 0, onWarning),
    events: await EventsLog.open(join(folder, 'events.jsonl'), onWarning),
  };
}

function warnings(onWarning: (message: string) => void): Partial<RunListener> {
  return {
    checkpoint: (outcome) => {
      if ('error' in outcome) onWarning(`the checkpoint was not written: ${outcome.error}`);
    },
    warning: onWarning,
  };
}
