/**
 * A write is stopped before each of its disk operations, and in the middle of those that have one. Whatever the moment,
 * the next start must find the old state or the complete new one, and clear away the rest.
 */
import { cpSync, readdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type DiskOperations, nodeDisk, type OutputFile } from '../../../src/base/diskOperations.ts';
import { PeerError } from '../../../src/base/errors.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { collect, contentsAt, temporaryFolder, valuesOf, writeTiny } from './tinyCheckpoint.ts';

type Intercept = (operation: string, path: string, halfDo: () => Promise<void>) => Promise<void>;

/** Every operation first asks `before`; `halfDo` does a part of it. */
function intercepted(before: Intercept): DiskOperations {
  const nothing = async (): Promise<void> => undefined;
  return {
    async makeDirectory(path) {
      await before('makeDirectory', path, nothing);
      await nodeDisk.makeDirectory(path);
    },
    async createFile(path): Promise<OutputFile> {
      await before('createFile', path, nothing);
      const file = await nodeDisk.createFile(path);
      return {
        async write(bytes) {
          await before('write', path, () => file.write(bytes.subarray(0, bytes.length >> 1)));
          await file.write(bytes);
        },
        async sync() {
          await before('sync', path, nothing); // a process that dies takes nothing from the page cache: no real one
        },
        async close() {
          // A dead process has closed its files: the descriptor goes, whatever the test decides.
          await file.close();
          await before('close', path, nothing);
        },
      };
    },
    async rename(from, to) {
      await before('rename', `${from} → ${to}`, nothing);
      await nodeDisk.rename(from, to);
    },
    async syncDirectory(path) {
      await before('syncDirectory', path, nothing);
    },
    async removeTree(path) {
      await before('removeTree', path, async () => rmSync(join(path, 'manifest.json'), { force: true }));
      await nodeDisk.removeTree(path);
    },
    freeBytes: nodeDisk.freeBytes,
  };
}

const quickDisk = intercepted(async () => undefined);

/** From operation number `count` on, nothing works: the process is as good as dead. */
function dyingAfter(count: number, half: boolean): { disk: DiskOperations; died: () => boolean } {
  let done = 0;
  const disk = intercepted(async (operation, _path, halfDo) => {
    if (done === count && half) await halfDo();
    if (done++ >= count) throw new Error(`killed at operation ${count}, ${operation}`);
  });
  return { disk, died: () => done > count };
}

interface Scenario {
  name: string;
  keep: number;
  /** Steps written before. */
  before: number[];
  step: number;
  /** Steps that may be the newest complete one afterwards. */
  after: number[];
}

describe.each<Scenario>([
  { name: 'the first checkpoint of a run', keep: 0, before: [], step: 10, after: [10] },
  { name: 'a later checkpoint that pushes one out', keep: 1, before: [10], step: 20, after: [10, 20] },
  { name: 'a step that is written again', keep: 2, before: [10, 20], step: 20, after: [20] },
])('$name', ({ keep, before, step, after }) => {
  test.each([false, true])('killed at every operation (in its middle: %s)', async (half) => {
    const template = temporaryFolder();
    for (const earlier of before)
      await writeTiny(new CheckpointStore(template, { disk: quickDisk }), contentsAt(earlier));
    let died = true;
    for (let count = 0; died; count++) {
      const directory = join(temporaryFolder(), 'checkpoints');
      if (before.length > 0) cpSync(template, directory, { recursive: true });
      const dying = dyingAfter(count, half);
      const outcome = await writeTiny(
        new CheckpointStore(directory, { keep, disk: dying.disk }),
        contentsAt(step),
      ).then(
        () => 'written',
        () => 'failed',
      );
      died = dying.died();
      if (!died) expect(outcome).toBe('written');

      const reopened = new CheckpointStore(directory);
      const newest = await reopened.newestWhole();
      const message = `after ${count} operations`;
      if (newest === undefined) expect(before, message).toEqual([]);
      else {
        const { checkpoint, skipped } = newest;
        expect(skipped, message).toEqual([]);
        expect(after, message).toContain(checkpoint.trainer?.step);
        const { tensors } = contentsAt(step);
        const names = tensors.map(({ name }) => name);
        const expected = valuesOf(tensors, 2, checkpoint.trainer!.step);
        expect(await collect(checkpoint.stream('v', names)), message).toEqual(expected);
      }
      if (outcome === 'written') expect(newest?.checkpoint.trainer?.step, message).toBe(step);
      const left = newest === undefined ? [] : readdirSync(directory);
      expect(
        left.filter((name) => !/^step-\d{8}$/.test(name)),
        message,
      ).toEqual([]);
    }
  });
});

test('one failure at any operation: the writer cleans up and says what happened', async () => {
  let failed = true;
  for (let count = 0; failed; count++) {
    const directory = join(temporaryFolder(), 'checkpoints');
    await writeTiny(new CheckpointStore(directory, { disk: quickDisk }), contentsAt(10));
    let done = 0;
    let renamed = false;
    const disk = intercepted(async (operation) => {
      if (done++ === count) throw Object.assign(new Error('EIO: input/output error'), { code: 'EIO' });
      if (operation === 'rename') renamed = true;
    });
    const outcome = await writeTiny(new CheckpointStore(directory, { disk }), contentsAt(20)).catch((error) => error);
    failed = done > count && typeof outcome !== 'string';
    if (typeof outcome !== 'string') {
      expect(outcome).toBeInstanceOf(PeerError);
      expect(outcome.message).toContain(
        renamed ? 'might not survive a power failure' : 'step-00000020 could not be written',
      );
      expect(outcome.message).toContain('the disk reported an error (EIO)');
    }
    expect(readdirSync(directory)).toEqual(renamed ? ['step-00000010', 'step-00000020'] : ['step-00000010']);
  }
});

test('nothing becomes visible before all of it is on the disk, nor is committed before its name is', async () => {
  const log: { operation: string; path: string }[] = [];
  const disk = intercepted(async (operation, path) => void log.push({ operation, path }));
  const directory = join(temporaryFolder(), 'runs', 'checkpoints');
  const path = await writeTiny(new CheckpointStore(directory, { disk }), contentsAt(10));
  const indexOf = (operation: string, at: string): number =>
    log.findIndex((entry) => entry.operation === operation && entry.path === at);
  const rename = log.findIndex(({ operation }) => operation === 'rename');
  const hidden = log[rename]!.path.split(' → ')[0]!;
  const files = log.filter(({ operation }) => operation === 'createFile').map((entry) => entry.path);
  expect(files.length).toBe(7);
  for (const file of files) {
    const lastWrite = log.findLastIndex((entry) => entry.operation === 'write' && entry.path === file);
    expect(indexOf('sync', file)).toBeGreaterThan(lastWrite);
    expect(indexOf('sync', file)).toBeLessThan(rename);
  }
  const folderSync = indexOf('syncDirectory', hidden);
  expect(folderSync).toBeGreaterThan(indexOf('createFile', files.at(-1)!));
  expect(folderSync).toBeLessThan(rename);
  expect(files.at(-1)).toMatch(/manifest\.json$/);
  expect(indexOf('syncDirectory', dirname(path))).toBeGreaterThan(rename);
});

test('a disk that is full (a real one: /dev/full) ends the write and leaves the last checkpoint', async () => {
  const directory = temporaryFolder();
  await writeTiny(new CheckpointStore(directory), contentsAt(10));
  for (const name of ['tokenizer.json', 'model.safetensors', 'optimizer.safetensors', 'manifest.json']) {
    const disk: DiskOperations = {
      ...nodeDisk,
      async createFile(path) {
        if (!path.endsWith(name)) return nodeDisk.createFile(path);
        const handle = await open('/dev/full', 'w');
        return {
          write: async (bytes) => void (await handle.write(bytes)),
          sync: async () => undefined,
          close: () => handle.close(),
        };
      },
    };
    const outcome = await writeTiny(new CheckpointStore(directory, { disk }), contentsAt(20)).catch((error) => error);
    expect(outcome, name).toBeInstanceOf(PeerError);
    expect(outcome.message).toContain('the disk is full (ENOSPC');
    expect(outcome.cause).toMatchObject({ code: 'ENOSPC' });
    expect(readdirSync(directory)).toEqual(['step-00000010']);
  }
});
