import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  readCoordinatorFile,
  removeCoordinatorFile,
  writeCoordinatorFile,
} from '../../../src/cluster/coordinatorFile.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-cluster-'));
});
afterEach(() => rm(folder, { recursive: true }));

const listening = { kind: 'listening', address: 'tcp://10.0.0.1:4711' } as const;

it('says to the nodes of the same start where node 0 listens', async () => {
  const runDir = join(folder, 'runs', 'new');
  expect(await readCoordinatorFile(runDir, { jobId: 'a', sinceMs: 0 })).toBeUndefined();
  await writeCoordinatorFile(runDir, 'a', listening);
  expect(await readdir(runDir)).toEqual(['coordinator.json']);
  expect(await readCoordinatorFile(runDir, { jobId: 'a', sinceMs: Date.now() + 1e9 })).toEqual(listening);
  expect(await readCoordinatorFile(runDir, { jobId: 'b', sinceMs: 0 })).toBeUndefined();
  await removeCoordinatorFile(runDir);
  expect(await readCoordinatorFile(runDir, { jobId: 'a', sinceMs: 0 })).toBeUndefined();
});

it('does not count from an earlier job, if jobs have no names', async () => {
  await writeCoordinatorFile(folder, undefined, listening);
  expect(await readCoordinatorFile(folder, { jobId: undefined, sinceMs: Date.now() })).toEqual(listening);
  expect(await readCoordinatorFile(folder, { jobId: undefined, sinceMs: Date.now() + 60_000 })).toBeUndefined();
});

it.each([
  ['{"format":1,', /is not JSON: remove it/],
  ['{"format":2}', /not from this version of Lockstep/],
  ['{"format":1,"writtenAtMs":1,"state":{"kind":"listening"}}', /not from this version/],
  [' '.repeat(70_000), /has more than 65536 bytes/],
])('refuses %j', async (text, message) => {
  await writeFile(join(folder, 'coordinator.json'), text);
  await expect(readCoordinatorFile(folder, { jobId: undefined, sinceMs: 0 })).rejects.toThrow(message);
});
