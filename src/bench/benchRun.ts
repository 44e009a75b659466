/**
 * A real run for a bench: the coordinator of `launch` in this process, worker processes, ZeroMQ sockets, keys, a run directory with its
 * journal in the system's folder for temporary files. What the workers compute on is the bench's choice.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { availableCores } from '../base/cores.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { joinKeysOf, newRunKeys } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import type { Config } from '../config/configTypes.ts';
import { Coordinator } from '../coordinator/coordinator.ts';
import { allListeners, type RunListener } from '../coordinator/coordinatorOptions.ts';
import { decide } from '../coordinator/core/decide.ts';
import type { Decision, RunEvent } from '../coordinator/core/runState.ts';
import { openDataset } from '../data/openDataset.ts';
import { EventsLog } from '../records/eventsLog.ts';
import { Journal } from '../records/journal.ts';
import { MetricsLog } from '../records/metricsLog.ts';
import { forkWorkers, type WorkerEntry, type WorkerExit } from '../worker/spawn.ts';
import { withTemporaryFolder } from './temporaryFolder.ts';

export interface BenchRunOptions {
  /** `train.workers` says how many processes are started. */
  readonly config: Config;
  /** Whether the sockets are encrypted, as those of `launch` are without `--no-encrypt`. */
  readonly encrypted: boolean;
  /** The run waits for one worker more than there are: none of its steps begins. */
  readonly idle?: boolean;
  /** Cores that the workers share; all where it is not given. */
  readonly cores?: number;
  /** What a worker process runs, where it is not what `launch` starts. */
  readonly entry?: WorkerEntry;
  /** Told of everything that happens to the run, once it is decided. */
  readonly observe?: Observer;
  readonly listener?: Partial<RunListener>;
  readonly onWarning: (message: string) => void;
}

export type Observer = (event: RunEvent, decision: Decision) => void;

export interface BenchRun {
  readonly config: Config;
  /** Rejects when the run fails. */
  readonly finished: Promise<number>;
  /** Ends an idle run. */
  stop(): void;
}

/** How long workers have to end by themselves once the run is over. */
const stopGraceMs = 3_000;

/** Starts a run, hands it to `body`, and leaves no process and no file behind, also where a signal ends this process. */
export async function withBenchRun<T>(options: BenchRunOptions, body: (run: BenchRun) => Promise<T>): Promise<T> {
  const { config } = options;
  const dataset = await openDataset(config.data, {
    blockSize: config.model.blockSize,
    validates: false,
    cwd: process.cwd(),
  });
  return await withTemporaryFolder('lockstep-bench-', async (folder, interrupted) => {
    const keys = options.encrypted ? newRunKeys() : undefined;
    const server = await zmqTransport({ log: options.onWarning, keys }).listen('tcp://127.0.0.1:0');
    const count = config.train.workers;
    const localWorkers = Array.from({ length: count }, (_, i) => `local-${String(i).padStart(4, '0')}`);
    let coordinator: Coordinator | undefined;
    const start = {
      coordinatorAddress: server.address,
      localWorkers,
      cores: options.cores ?? availableCores(),
      flightFolder: join(folder, 'flight'),
      keys: keys && joinKeysOf(keys),
      onExit: (exit: WorkerExit) => coordinator?.workerExited(exit),
    };
    const workers = forkWorkers(start, options.entry);
    const kill = () => {
      for (const worker of localWorkers) workers.kill(worker);
    };
    interrupted.addEventListener('abort', kill);
    try {
      const { idle = false, onWarning } = options;
      const worldSize = idle ? count + 1 : count;
      const started = new Coordinator({
        config,
        dataset,
        server,
        localWorkers,
        worldSize,
        minWorkers: worldSize,
        open: idle,
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
      return await body({ config, finished: started.finished, stop: () => started.requestStop() });
    } finally {
      await workers.stop(stopGraceMs);
      await coordinator?.close();
      await server.close();
      interrupted.removeEventListener('abort', kill);
    }
  });
}

/** What a run writes, as that of `launch`. */
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
