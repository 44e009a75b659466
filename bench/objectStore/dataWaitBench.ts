/** Runs of a tiny model on shuffled windows of prepared data, on the disk and in an object store: how long a worker waits for its samples. */
import { join } from 'node:path';
import { inFolder } from '../../src/base/objectPath.ts';
import { quantile } from '../../src/base/statistics.ts';
import { withBenchRun } from '../../src/bench/benchRun.ts';
import { fixed, numberColumn, tableHeading, tableRow, textColumn } from '../../src/bench/table.ts';
import { withTemporaryFolder } from '../../src/bench/temporaryFolder.ts';
import { configSchema } from '../../src/config/schema.ts';
import { removeObjects, uploadPrepared } from './benchObjects.ts';
import { makeSyntheticShards } from './syntheticShards.ts';

const sources = ['disk', 'store'] as const;
export type Source = (typeof sources)[number];

export interface DataWaitRow {
  readonly source: Source;
  /** Milliseconds, of every step but the first. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** Median milliseconds of a step, forward and backward. */
  readonly workMs: number;
}

export interface DataWaitOptions {
  /** `s3://BUCKET/PREFIX`; what is written there is removed. */
  readonly prefix: string;
  readonly steps: number;
  readonly rounds: number;
  readonly tokens: number;
  readonly onWarning: (message: string) => void;
  readonly onRow: (row: DataWaitRow) => void;
}

export async function runDataWaitBench(options: DataWaitOptions): Promise<DataWaitRow[]> {
  const { prefix, rounds, tokens, onRow } = options;
  const inStore = inFolder(prefix, 'tokens');
  const rows: DataWaitRow[] = [];
  return await withTemporaryFolder('lockstep-bench-', async (temporary) => {
    const folder = join(temporary, 'tokens');
    await makeSyntheticShards({ folder, tokens, shardTokens: Math.ceil(tokens / 4) });
    try {
      await uploadPrepared(folder, inStore);
      for (let round = 0; round < rounds; round++) {
        for (const source of sources) {
          const row = await waitsOf(source, source === 'disk' ? folder : inStore, options);
          rows.push(row);
          onRow(row);
        }
      }
      return rows;
    } finally {
      await removeObjects(inStore);
    }
  });
}

/** A run with an empty cache. */
async function waitsOf(source: Source, shards: string, options: DataWaitOptions): Promise<DataWaitRow> {
  const { steps, onWarning } = options;
  const config = configSchema.parse({
    model: { nLayer: 2, nHead: 2, nEmbd: 32, blockSize: 64 },
    data: { shards: [shards], tokenizer: 'byte', sampler: 'shuffled' },
    train: { workers: 1, maxSteps: steps, globalBatchSize: 12, microBatchSize: 12 },
    schedule: { warmupSteps: 0 },
    engine: { threads: 1 },
    checkpoint: { everySteps: 0 },
    eval: { everySteps: 0 },
  });
  const waits: number[] = [];
  const works: number[] = [];
  return await withTemporaryFolder('lockstep-cache-', async (cache) => {
    const before = process.env['XDG_CACHE_HOME'];
    process.env['XDG_CACHE_HOME'] = cache;
    try {
      await withBenchRun(
        {
          config,
          encrypted: true,
          onWarning,
          listener: {
            step: ({ step, ranks }) => {
              if (step === 1) return;
              for (const { dataWaitMs, forwardBackwardMs } of ranks) {
                if (dataWaitMs !== undefined) waits.push(dataWaitMs);
                if (forwardBackwardMs !== undefined) works.push(forwardBackwardMs);
              }
            },
          },
        },
        async ({ finished }) => await finished,
      );
    } finally {
      if (before === undefined) delete process.env['XDG_CACHE_HOME'];
      else process.env['XDG_CACHE_HOME'] = before;
    }
    return {
      source,
      p50: quantile(waits, 0.5),
      p99: quantile(waits, 0.99),
      max: Math.max(...waits),
      workMs: quantile(works, 0.5),
    };
  });
}

const columns = [
  textColumn('samples from', sources),
  numberColumn('p50 ms', 7),
  numberColumn('p99 ms', 7),
  numberColumn('max ms', 7),
  numberColumn('work ms', 7),
];

export function renderDataWaitHead({ steps }: Pick<DataWaitOptions, 'steps'>): string {
  return `\nwait of a worker for its samples, ${steps} steps of a tiny model\n\n${tableHeading(columns)}\n`;
}

export function renderDataWaitRow({ source, p50, p99, max, workMs }: DataWaitRow): string {
  return `${tableRow(columns, [source, fixed(p50, 3), fixed(p99, 3), fixed(max, 3), fixed(workMs, 2)])}\n`;
}
