/** A checkpoint to the disk and to an object store, in turns: how long each takes, and how much memory. */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { PeerError } from '../../src/base/errors.ts';
import { inFolder } from '../../src/base/objectPath.ts';
import { median } from '../../src/base/statistics.ts';
import { fixed, numberColumn, tableHeading, tableRow, textColumn } from '../../src/bench/table.ts';
import { withTemporaryFolder } from '../../src/bench/temporaryFolder.ts';
import { removeObjects } from './benchObjects.ts';
import type { CheckpointWrite } from './writeCheckpointMain.ts';

const program = fileURLToPath(new URL('./writeCheckpointMain.js', import.meta.url));

export type Place = 'disk' | 'store';

export interface CheckpointRow extends CheckpointWrite {
  readonly place: Place;
}

export interface CheckpointBenchOptions {
  /** `s3://BUCKET/PREFIX`; what is written there is removed. */
  readonly prefix: string;
  readonly bytes: number;
  readonly pairs: number;
  readonly onRow: (row: CheckpointRow) => void;
}

export async function runCheckpointBench(options: CheckpointBenchOptions): Promise<CheckpointRow[]> {
  const { bytes, pairs, onRow } = options;
  const rows: CheckpointRow[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    for (const place of ['disk', 'store'] as const) {
      const row = { place, ...(await (place === 'disk' ? onDisk(bytes) : inStore(options))) };
      rows.push(row);
      onRow(row);
    }
  }
  return rows;
}

async function onDisk(bytes: number): Promise<CheckpointWrite> {
  return await withTemporaryFolder('lockstep-bench-', async (folder) => {
    const directory = join(folder, 'checkpoints');
    const written = await write(directory, bytes);
    await rm(directory, { recursive: true });
    return written;
  });
}

async function inStore({ prefix, bytes }: CheckpointBenchOptions): Promise<CheckpointWrite> {
  const directory = inFolder(prefix, 'checkpoints');
  try {
    return await write(directory, bytes);
  } finally {
    await removeObjects(directory);
  }
}

async function write(directory: string, bytes: number): Promise<CheckpointWrite> {
  const run = promisify(execFile)(process.execPath, [program, JSON.stringify({ directory, bytes })]);
  const { stdout } = await run.catch((error: { stderr?: string }) => {
    throw new PeerError(`a checkpoint could not be written to ${directory}: ${error.stderr?.trim()}`);
  });
  return JSON.parse(stdout) as CheckpointWrite;
}

const columns = [
  textColumn('place', ['store']),
  numberColumn('seconds', 7),
  numberColumn('MB/s', 7),
  numberColumn('extra MiB', 9),
];

export function renderCheckpointHead({ bytes }: Pick<CheckpointBenchOptions, 'bytes'>): string {
  return `a checkpoint of ${(bytes / 1e6).toFixed(0)} MB to the disk and to the store, in turns\n\n${tableHeading(columns)}\n`;
}

export function renderCheckpointRow({ place, seconds, bytes, extraBytes }: CheckpointRow): string {
  const cells = [place, fixed(seconds, 2), fixed(bytes / seconds / 1e6, 0), fixed(extraBytes / 2 ** 20, 1)];
  return `${tableRow(columns, cells)}\n`;
}

export function renderCheckpointSum(rows: readonly CheckpointRow[]): string {
  const { ratio, extraBytes } = checkpointSum(rows);
  return `\nstore / disk, ratio of medians: ${ratio.toFixed(2)}; most extra memory of the store: ${(extraBytes / 2 ** 20).toFixed(1)} MiB\n`;
}

export function checkpointSum(rows: readonly CheckpointRow[]): { ratio: number; extraBytes: number } {
  const at = (place: Place) => rows.filter((row) => row.place === place);
  const seconds = (place: Place) => median(at(place).map((row) => row.seconds));
  return {
    ratio: seconds('store') / seconds('disk'),
    extraBytes: Math.max(...at('store').map((row) => row.extraBytes)),
  };
}
