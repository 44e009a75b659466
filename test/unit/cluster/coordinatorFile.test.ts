import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  CoordinatorFileReader,
  removeCoordinatorFile,
  writeCoordinatorFile,
} from '../../../src/cluster/coordinatorFile.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-cluster-'));
});
afterEach(() => rm(folder, { recursive: true }));

const listening = { kind: 'listening', address: 'tcp://10.0.0.1:4711' } as const;
const failed = { kind: 'failed', message: 'no data' } as const;

it('says to the nodes of the same start where node 0 listens', async () => {
  const runDir = join(folder, 'runs', 'new');
  const read = (jobId: string) => new CoordinatorFileReader(runDir, jobId).read();
  expect(await read('a')).toBeUndefined();
  await writeCoordinatorFile(runDir, 'a', listening);
  expect(await readdir(runDir)).toEqual(['coordinator.json']);
  expect(await read('a')).toEqual({ state: listening, isCertain: true });
  expect(await read('b')).toBeUndefined();
  await removeCoordinatorFile(runDir);
  expect(await read('a')).toBeUndefined();
});

it.each([{ kind: 'ended' } as const, failed])(
  'believes %j of a start without a name if it saw it written',
  async (end) => {
    await writeCoordinatorFile(folder, undefined, end);
    const reader = new CoordinatorFileReader(folder, undefined);
    // However new: that start may have ended a moment ago.
    expect(await reader.read()).toBeUndefined();
    expect(await reader.read()).toBeUndefined();
    await removeCoordinatorFile(folder);
    expect(await reader.read()).toBeUndefined();
    await writeCoordinatorFile(folder, undefined, listening);
    expect(await reader.read()).toEqual({ state: listening, isCertain: true });
    await writeCoordinatorFile(folder, undefined, end);
    expect(await reader.read()).toEqual({ state: end, isCertain: true });
  },
);

it('reports an address of a start without a name as uncertain, unless it saw it written', async () => {
  await writeCoordinatorFile(folder, undefined, listening);
  const reader = new CoordinatorFileReader(folder, undefined);
  expect(await reader.read()).toEqual({ state: listening, isCertain: false });
});

it.each([
  ['{"format":1,', /is not JSON: remove it/],
  ['{"format":2}', /not from this version of Lockstep/],
  ['{"format":1,"writtenAtMs":1,"state":{"kind":"listening"}}', /not from this version/],
  [' '.repeat(70_000), /has more than 65536 bytes/],
])('refuses %j', async (text, message) => {
  await writeFile(join(folder, 'coordinator.json'), text);
  await expect(new CoordinatorFileReader(folder, undefined).read()).rejects.toThrow(message);
});
