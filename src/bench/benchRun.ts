/**
 * A real run for a bench: `launch`'s coordinator in this process, worker processes, ZeroMQ sockets, keys, and a run directory with its
 * journal in the system's temporary folder. The bench chooses the workers' engine.
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
import { textRunData } from '../data/textRunData.ts';
import { EventsLog } from '../records/eventsLog.ts';
import { Journal } from '../records/journal.ts';
import { MetricsLog } from '../records/metricsLog.ts';
import { forkWorkers, type WorkerEntry, type WorkerExit } from '../worker/spawn.ts';
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
  /** Called with every event of the run, once it is decided. */
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
    const server = await zmqTransport({ log: options.onWarning, keys }).listen('tcp://127.0.0.1:0');
    const count = config.train.workers;
    const localWorkers = Array.from({ length: count }, (_, i) => `local-${String(i).padStart(4, '0')}`);
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
    const kill = () => {
      for (const worker of localWorkers) workers.kill(worker);
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
