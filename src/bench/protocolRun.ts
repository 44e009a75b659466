/**
 * A run for `launch bench protocol`: all of a real one but the work. The coordinator of `launch` in this process, worker processes,
 * ZeroMQ sockets, keys, a run directory with its journal; and the smallest model that there can be, so that what a step takes is
 * what it takes to agree on it.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { CheckpointStore } from '../checkpoint/store.ts';
import { joinKeysOf, newRunKeys } from '../comm/runKeys.ts';
import { zmqTransport } from '../comm/zmqLink.ts';
import { type Config, configSchema } from '../config/schema.ts';
import { Coordinator } from '../coordinator/coordinator.ts';
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import { decide } from '../coordinator/decide.ts';
import { EventsLog } from '../coordinator/eventsLog.ts';
import { Journal } from '../coordinator/journal.ts';
import { MetricsLog } from '../coordinator/metricsLog.ts';
import type { Decision, RunEvent } from '../coordinator/runState.ts';
import { type Dataset, openDataset } from '../data/dataset.ts';
import { forkWorkers, type WorkerExit } from '../worker/spawn.ts';
import { withTemporaryFolder } from './temporaryFolder.ts';

export interface ProtocolRunOptions {
  readonly workers: number;
  /** Whether the sockets are encrypted, as those of `launch` are without `--no-encrypt`. */
  readonly encrypted: boolean;
  readonly maxSteps: number;
  /** Absent: the default of the config. */
  readonly heartbeatIntervalMs?: number;
  /** The run waits for one worker more than there are: none of its steps begins. */
  readonly idle?: boolean;
  readonly onWarning: (message: string) => void;
}

/** Told of everything that happens to the run, once it is decided. */
export type Observer = (event: RunEvent, decision: Decision) => void;

export interface ProtocolRun {
  readonly config: Config;
  /** Rejects when the run fails. */
  readonly finished: Promise<number>;
  /** Ends an idle run. */
  stop(): void;
}

/** How long workers have to end by themselves once the run is over. */
const stopGraceMs = 3_000;

/** Starts a run, hands it to `body`, and leaves no process and no file behind, also where a signal ends this process. */
export async function withProtocolRun<T>(
  options: ProtocolRunOptions,
  observe: Observer,
  body: (run: ProtocolRun) => Promise<T>,
): Promise<T> {
  const config = configOf(options);
  const { blockSize } = config.model;
  const dataset = await openDataset(config.data, { blockSize, cwd: process.cwd() });
  return await withTemporaryFolder('lockstep-protocol-', (folder, interrupted) =>
    inFolder({ options, config, dataset, folder, interrupted, observe, body }),
  );
}

function configOf({ workers, maxSteps, heartbeatIntervalMs }: ProtocolRunOptions): Config {
  return configSchema.parse({
    model: { nLayer: 1, nHead: 1, nEmbd: 4, blockSize: 4 },
    train: { workers, maxSteps, globalBatchSize: workers, microBatchSize: 1 },
    schedule: { warmupSteps: 0 },
    engine: { threads: 1 },
    checkpoint: { everySteps: 0 },
    eval: { everySteps: 0 },
    comm: { ...(heartbeatIntervalMs !== undefined && { heartbeatIntervalMs }) },
  });
}

interface Start<T> {
  readonly options: ProtocolRunOptions;
  readonly config: Config;
  readonly dataset: Dataset;
  readonly folder: string;
  readonly interrupted: AbortSignal;
  readonly observe: Observer;
  readonly body: (run: ProtocolRun) => Promise<T>;
}

async function inFolder<T>({ options, config, dataset, folder, interrupted, observe, body }: Start<T>): Promise<T> {
  const { workers: count, idle = false, onWarning } = options;
  const keys = options.encrypted ? newRunKeys() : undefined;
  const server = await zmqTransport({ log: onWarning, keys }).listen('tcp://127.0.0.1:0');
  const localWorkers = Array.from({ length: count }, (_, i) => `local-${String(i).padStart(4, '0')}`);
  let coordinator: Coordinator | undefined;
  const workers = forkWorkers({
    coordinatorAddress: server.address,
    workersOnHost: count,
    cores: count,
    flightFolder: join(folder, 'flight'),
    keys: keys && joinKeysOf(keys),
    onExit: (exit: WorkerExit) => coordinator?.workerExited(exit),
  });
  const kill = () => {
    for (const worker of localWorkers) workers.kill(worker);
  };
  interrupted.addEventListener('abort', kill);
  try {
    const runId = randomUUID();
    const journal = Journal.create(join(folder, 'journal.jsonl'), onWarning);
    journal.append({ kind: 'run', format: 1, runId, address: server.address });
    const started = new Coordinator({
      ...{ runId, config, dataset, server, journal, localWorkers },
      store: new CheckpointStore(join(folder, 'checkpoints'), { onWarning }),
      metrics: await MetricsLog.open(join(folder, 'metrics.jsonl'), 0, onWarning),
      events: await EventsLog.open(join(folder, 'events.jsonl'), onWarning),
      worldSize: idle ? count + 1 : count,
      minWorkers: idle ? count + 1 : count,
      restartsMax: 0,
      open: idle,
      startWorker: (worker) => workers.start(worker),
      killWorker: (worker) => workers.kill(worker),
      token: keys?.token,
      listener: quiet(onWarning),
      decide: (state, event, nowMs) => {
        const decision = decide(state, event, nowMs);
        observe(event, decision);
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
}

/** Tells of nothing but warnings. */
function quiet(onWarning: (message: string) => void): RunListener {
  const nothing = () => undefined;
  return {
    ...{ started: nothing, step: nothing, evaluated: nothing, event: nothing },
    checkpoint: (outcome) => {
      if ('error' in outcome) onWarning(`the checkpoint was not written: ${outcome.error}`);
    },
    warning: onWarning,
  };
}
