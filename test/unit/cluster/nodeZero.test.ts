import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { writeAgain } from '../../../src/cluster/again.ts';
import { CoordinatorFileReader, writeCoordinatorFile } from '../../../src/cluster/coordinatorFile.ts';
import { NodeZero, type NodeZeroEnd } from '../../../src/cluster/nodeZero.ts';

let runDir = '';
beforeEach(async () => {
  runDir = await mkdtemp(join(tmpdir(), 'lockstep-node-zero-'));
});
afterEach(() => rm(runDir, { recursive: true }));

const node = (jobId: string | undefined, needsChange = false) =>
  new NodeZero({
    runDir,
    jobId,
    needsChange,
    repeatAfterMs: 100,
    onWarning: (error) => {
      throw error;
    },
  });
const stateOf = async (jobId: string) => (await new CoordinatorFileReader(runDir, jobId).read())?.state;
const hasAgain = () => existsSync(join(runDir, 'again'));

it('removes what an earlier start left only once the directory is its own', async () => {
  await writeCoordinatorFile(runDir, 'a', { kind: 'ended' });
  await writeAgain(runDir);
  const zero = node('b');
  expect([hasAgain(), await stateOf('a')]).toEqual([true, { kind: 'ended' }]);
  await zero.claimed();
  expect([hasAgain(), await stateOf('a')]).toEqual([false, undefined]);
});

it.each<[NodeZeroEnd, unknown, boolean]>([
  [{ kind: 'ended' }, { kind: 'ended' }, false],
  [{ kind: 'failed', message: 'full' }, { kind: 'failed', message: 'full' }, false],
  [{ kind: 'unfinished' }, undefined, true],
  [{ kind: 'interrupted' }, undefined, false],
])('leaves no address where nothing listens: %j', async (end, state, again) => {
  const zero = node('a');
  await zero.claimed();
  // Not awaited: the end waits for it.
  zero.listens('tcp://10.0.0.1:4711');
  await zero.ends(end);
  expect([await stateOf('a'), hasAgain()]).toEqual([state, again]);
});

it('writes an end twice where a later node must see it change', async () => {
  const zero = node(undefined, true);
  await zero.claimed();
  const ending = zero.ends({ kind: 'ended' });
  await vi.waitFor(() => expect(existsSync(join(runDir, 'coordinator.json'))).toBe(true));
  const later = new CoordinatorFileReader(runDir, undefined);
  expect(await later.read()).toBeUndefined();
  await ending;
  expect(await later.read()).toEqual({ state: { kind: 'ended' }, isCertain: true });
});
