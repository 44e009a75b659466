/**
 * A run for `npm run bench -- protocol`: all of a real one but the work. It has the smallest model that there can be, so that what a step
 * takes is what it takes to agree on it.
 */
import { type BenchRun, type Observer, withBenchRun } from '../../src/bench/benchRun.ts';
import { configSchema } from '../../src/config/schema.ts';

export interface ProtocolRunOptions {
  readonly workers: number;
  readonly encrypted: boolean;
  readonly maxSteps: number;
  /** Absent: the default of the config. */
  readonly heartbeatIntervalMs?: number;
  readonly idle?: boolean;
  readonly onWarning: (message: string) => void;
}

/** Starts a run, hands it to `body`, and leaves nothing of it behind (benchRun.ts). */
export async function withProtocolRun<T>(
  { workers, maxSteps, heartbeatIntervalMs, ...options }: ProtocolRunOptions,
  observe: Observer,
  body: (run: BenchRun) => Promise<T>,
): Promise<T> {
  const config = configSchema.parse({
    model: { nLayer: 1, nHead: 1, nEmbd: 4, blockSize: 4 },
    train: { workers, maxSteps, globalBatchSize: workers, microBatchSize: 1 },
    schedule: { warmupSteps: 0 },
    engine: { threads: 1 },
    checkpoint: { everySteps: 0 },
    eval: { everySteps: 0 },
    comm: { ...(heartbeatIntervalMs !== undefined && { heartbeatIntervalMs }) },
  });
  return await withBenchRun({ ...options, config, observe }, body);
}
