/** The other nodes of a job, with launchers that do not name a start, in a directory where an earlier start left its files. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type FindOptions, findCoordinator } from '../../../src/cli/findCoordinator.ts';
import { quietOutput, setOutput } from '../../../src/cli/output.ts';
import { writeCoordinatorFile } from '../../../src/cluster/coordinatorFile.ts';
import { UnreachableError } from '../../../src/comm/linkAddress.ts';
import { joinKeysOf, newRunKeys } from '../../../src/comm/runKeys.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';

let folder = '';
let before = quietOutput;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-find-'));
  before = setOutput(quietOutput);
});
afterEach(async () => {
  setOutput(before);
  await rm(folder, { recursive: true });
});

const [old, own] = ['tcp://10.0.0.1:4711', 'tcp://10.0.0.1:4712'];
const given = joinKeysOf(newRunKeys());
const dead = new UnreachableError('Nothing answers.', 'nothing answers');
const write = (state: Parameters<typeof writeCoordinatorFile>[2], jobId?: string) =>
  writeCoordinatorFile(folder, jobId, state);

/** @param probe what is met at an address */
function find(probe: FindOptions['probe'], options: Partial<FindOptions> = {}) {
  const placement = { coordinator: undefined, jobId: undefined };
  return findCoordinator({ placement, folder: new RunFolder(folder), waitSeconds: 30, given, probe, ...options });
}

it.each<[string, Error]>([
  ['nothing', dead],
  ['another run', new Error('The key is of another run.')],
])('reads the file again while %s answers at the address of an earlier start', async (_, error) => {
  await write({ kind: 'listening', address: old });
  const probed: string[] = [];
  const found = find(async (address) => {
    probed.push(address);
    if (address === old) throw error;
  });
  await vi.waitFor(() => expect(probed).toContain(old));
  await write({ kind: 'listening', address: own });
  expect(await found).toMatchObject({ address: own, keys: given });
});

it.each([{ kind: 'ended' } as const, { kind: 'failed', message: 'no data' } as const])(
  'waits for its own node 0 where an earlier start has left %j',
  async (end) => {
    await write(end);
    const found = find(async () => {});
    await new Promise((resolve) => setTimeout(resolve, 300));
    await write({ kind: 'listening', address: own });
    expect(await found).toMatchObject({ address: own });
  },
);

it('ends with the reason when --wait has passed', async () => {
  await write({ kind: 'listening', address: old });
  await expect(find(() => Promise.reject(dead), { waitSeconds: 0 })).rejects.toBe(dead);
  const placement = { coordinator: undefined, jobId: 'other' };
  await expect(find(undefined, { waitSeconds: 0, placement })).rejects.toThrow(/node 0 has not written/);
});

it('reports at once what is wrong at the address that its own node 0 has written', async () => {
  await write({ kind: 'listening', address: own }, 'job');
  const wrong = find(() => Promise.reject(new Error('wrong key')), {
    placement: { coordinator: undefined, jobId: 'job' },
  });
  await expect(wrong).rejects.toThrow('wrong key');
  await write({ kind: 'failed', message: 'no data' }, 'job');
  await expect(find(undefined, { placement: { coordinator: undefined, jobId: 'job' } })).rejects.toThrow(
    'node 0 failed: no data',
  );
});
