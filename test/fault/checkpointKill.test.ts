/** Checkpoint writes that the system ends: processes killed with SIGKILL at every disk operation, and a disk that fills up. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PeerError } from '../../src/base/errors.ts';
import { type DiskOperations, nodeDisk } from '../../src/checkpoint/diskOperations.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { collect, contentsAt, streamBytes, writeTiny } from '../unit/checkpoint/tinyCheckpoint.ts';

const script = join(import.meta.dirname, 'checkpointWriter.mjs');
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function runWriter(step: number, killAt: number) {
  return spawnSync(process.execPath, [script, folder, `${step}`, `${killAt}`], { encoding: 'utf8' });
}

/** What the next start finds: the newest whole step, its values all equal to it, and nothing else but whole checkpoints. */
async function stateAfterRestart(): Promise<number | undefined> {
  const newest = await new CheckpointStore(folder).newestWhole();
  expect(existsSync(folder) ? readdirSync(folder).filter((name) => !/^step-\d{8}$/.test(name)) : []).toEqual([]);
  if (newest === undefined) return undefined;
  expect(newest.skipped).toEqual([]);
  const { checkpoint } = newest;
  const step = checkpoint.trainer!.step;
  for (const part of ['params', 'm', 'v'] as const) {
    const values = await collect(
      checkpoint.stream(
        part,
        checkpoint.tensors.map(({ name }) => name),
      ),
    );
    expect(values.every((value) => value === step)).toBe(true);
  }
  return step;
}

test('SIGKILL at every disk operation of a write, in its middle where it has one', async () => {
  let renamed = false;
  let killed = runWriter(200, 0);
  for (let killAt = 0; killed.signal === 'SIGKILL'; killAt++) {
    rmSync(folder, { recursive: true, force: true });
    expect(runWriter(100, -1)).toMatchObject({ status: 0, stderr: '' });
    killed = runWriter(200, killAt);
    const message = `killed at operation ${killAt}: ${killed.stderr}`;
    const step = await stateAfterRestart();
    expect([100, 200], message).toContain(step);
    if (renamed) expect(step, message).toBe(200); // once it is visible it stays
    renamed ||= step === 200;
  }
  expect(killed).toMatchObject({ status: 0, stderr: '' });
  expect(renamed).toBe(true);
});

test('a disk that fills up: the write fails and says so, the last checkpoint stays, and there is room again', async () => {
  const { disk, release } = await tinyDisk(folder);
  try {
    const store = new CheckpointStore(join(folder, 'run'), { disk });
    await writeTiny(store, contentsAt(10));
    const large = contentsAt(20, { model: { ...contentsAt(20).modelConfig, vocabSize: 20_000 } });
    const outcome = await writeTiny(store, large).catch((error: unknown) => error);
    expect(outcome).toBeInstanceOf(PeerError);
    expect(String(outcome)).toContain('the disk is full (ENOSPC');
    expect(readdirSync(store.directory)).toEqual(['step-00000010']);
    expect((await store.newestWhole())?.checkpoint.trainer?.step).toBe(10);
    await writeTiny(store, contentsAt(30));
    expect((await store.newestWhole())?.checkpoint.trainer?.step).toBe(30);
    expect(streamBytes(large.tensors, 0).length).toBeGreaterThan(2 ** 20);
  } finally {
    release();
  }
});

/**
 * A disk of 1 MiB whose free space is not asked for. A tmpfs where mounting is allowed; elsewhere, with a line that says
 * so, the files past the first MiB are /dev/full, which answers every write as a full disk does.
 */
async function tinyDisk(at: string): Promise<{ disk: DiskOperations; release: () => void }> {
  const freeBytes = async (): Promise<number> => Number.POSITIVE_INFINITY;
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'lockstep-test', at], { encoding: 'utf8' });
  if (mount.status === 0) return { disk: { ...nodeDisk, freeBytes }, release: () => spawnSync('umount', [at]) };
  process.stdout.write(`no tmpfs may be mounted here (${mount.error ?? mount.stderr.trim()}): using /dev/full\n`);
  const bytesIn = new Map<string, number>();
  const disk: DiskOperations = {
    ...nodeDisk,
    freeBytes,
    async createFile(path) {
      const file = await nodeDisk.createFile(path);
      return {
        ...file,
        async write(chunk) {
          const bytes = (bytesIn.get(dirname(path)) ?? 0) + chunk.length;
          bytesIn.set(dirname(path), bytes);
          if (bytes <= 2 ** 20) return file.write(chunk);
          const full = await open('/dev/full', 'w');
          try {
            await full.write(chunk);
          } finally {
            await full.close();
          }
        },
      };
    },
  };
  return { disk, release: () => undefined };
}
