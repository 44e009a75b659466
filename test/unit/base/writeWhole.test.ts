/** Every file that is put in place of another is on the disk before it has its name, and has its name for good afterwards. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { nodeDisk } from '../../../src/base/diskOperations.ts';
import { writeWhole } from '../../../src/base/writeWhole.ts';
import { newRunKeys } from '../../../src/comm/runKeys.ts';
import { PrepareFolder } from '../../../src/data/prepare/prepareFolder.ts';
import { replaceLines } from '../../../src/records/lineLog.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';
import { writeRunKeys } from '../../../src/run/runKeyFiles.ts';

let folder = '';
let operations: string[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-whole-'));
  operations = [];
  record();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true, force: true });
});

/** What is done to the disk is done, and noted down once it is. */
function record(): void {
  const { createFile, rename, syncDirectory } = nodeDisk;
  vi.spyOn(nodeDisk, 'createFile').mockImplementation(async (path, mode) => {
    const file = await createFile(path, mode);
    return {
      write: (bytes) => file.write(bytes),
      async sync() {
        await file.sync();
        operations.push(`sync ${basename(path)}`);
      },
      close: () => file.close(),
    };
  });
  vi.spyOn(nodeDisk, 'rename').mockImplementation(async (from, to) => {
    await rename(from, to);
    operations.push(`rename ${basename(from)} ${basename(to)}`);
  });
  vi.spyOn(nodeDisk, 'syncDirectory').mockImplementation(async (path) => {
    await syncDirectory(path);
    operations.push(`sync folder ${basename(path)}`);
  });
}

const places: readonly [string, string, () => Promise<void>][] = [
  ['the config of a run', 'config.yaml', () => new RunFolder(folder).writeConfig('model: {}\n')],
  ['the key of a run', 'run.key', () => writeRunKeys(new RunFolder(folder), newRunKeys())],
  ['the key to join a run', 'join.key', () => writeRunKeys(new RunFolder(folder), newRunKeys())],
  ['records without those that are void', 'metrics.jsonl', () => replaceLines(join(folder, 'metrics.jsonl'), ['{}'])],
  ['the plan of prepared data', 'kept.json', () => new PrepareFolder(folder).keep('kept.json', '{}')],
];

it.each(places)('%s is on the disk before %s is renamed, and its folder after', async (_, name, replace) => {
  await replace();
  const renamed = operations.findIndex(
    (operation) => operation.startsWith('rename ') && operation.endsWith(` ${name}`),
  );
  const beside = operations[renamed]?.split(' ')[1];
  expect(operations.slice(0, renamed)).toContain(`sync ${beside}`);
  expect(operations.slice(renamed)).toContain(`sync folder ${basename(folder)}`);
  expect((await readdir(folder)).filter((entry) => entry.includes(`${name}.`))).toEqual([]);
});

it('a run directory has its name for good, and those above it that were made', async () => {
  const path = join(folder, 'runs', 'mine');
  const run = new RunFolder(path, { isNew: true });
  await run.claim(() => {});
  await run.release();
  expect(operations).toEqual(expect.arrayContaining([`sync folder ${basename(folder)}`, 'sync folder runs']));
});

it('leaves the old content where the disk refuses, and nothing beside it', async () => {
  const path = join(folder, 'kept');
  await writeWhole(path, 'old');
  vi.spyOn(nodeDisk, 'rename').mockRejectedValueOnce(new Error('no space'));
  await expect(writeWhole(path, 'new')).rejects.toThrow('no space');
  expect(await readFile(path, 'utf8')).toBe('old');
  expect(await readdir(folder)).toEqual(['kept']);
});

it('goes over what a process that was killed left beside, with its own permissions', async () => {
  const path = join(folder, 'secret');
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.new`, 'a part', { mode: 0o644 });
  await writeWhole(path, Uint8Array.of(1, 2), { mode: 0o600 });
  expect(await readFile(path)).toEqual(Buffer.of(1, 2));
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});
