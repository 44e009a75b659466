/** What a coordinator looks at before it writes below a prefix of an object store, and what it leaves there. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PeerError } from '../../../src/base/errors.ts';
import type { RunMessages } from '../../../src/run/messages.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';
import { StoredRun } from '../../../src/run/storedRun.ts';
import { FakeStore } from '../objectStore/fakeStore.ts';

let cwd: string;
let objects: FakeStore;
let folder: RunFolder;
const said: string[] = [];
beforeEach(async () => {
  said.length = 0;
  cwd = await mkdtemp(join(tmpdir(), 'lockstep-stored-run-'));
  folder = new RunFolder(cwd);
  objects = await FakeStore.open();
  objects.use();
});
afterEach(() => rm(cwd, { recursive: true }));

const say = (line: string) => void said.push(line);
const messages: RunMessages = { note: say, warn: say, progress: () => () => {} };
const directory = 's3://bucket/runs/a';
const claimKey = 'runs/a/run/coordinator.json';

/** A run whose store has these steps, newest first, of which the damaged ones cannot be used. */
function openRun(steps: readonly number[], damaged: readonly number[] = []): StoredRun {
  const step = steps.find((each) => !damaged.includes(each));
  const store = {
    directory,
    newestStep: async () => steps[0],
    newestWhole: async () => (step === undefined ? undefined : { checkpoint: { step } }),
  };
  return StoredRun.of({ store, folder }, messages)!;
}

it('continues only from the newest checkpoint that the store has once nobody else can write there', async () => {
  const claim = (run: StoredRun, resumed?: number) => run.claim({ resumed, restores: false, config: '' });
  // The coordinator before has saved step 150 while this one read its data.
  const late = openRun([150, 100]);
  const refused = claim(late, 100);
  await expect(refused).rejects.toThrow(/is that of step 150, but it was that of step 100 when .* Start again/);
  await expect(refused).rejects.toBeInstanceOf(PeerError);
  expect(late.isHeld).toBe(false);
  await expect(claim(openRun([50]))).rejects.toThrow(/is that of step 50, but it was none/);
  await expect(claim(openRun([]), 100)).rejects.toThrow(/is none, but it was that of step 100/);
  // Whoever starts again need not wait.
  expect(objects.objects.has(claimKey)).toBe(false);

  for (const [run, resumed] of [
    [openRun([150, 100], [150]), 100],
    [openRun([100, 50]), 100],
    [openRun([]), undefined],
  ] as const) {
    await claim(run, resumed);
    expect(run.isHeld).toBe(true);
    await run.release();
  }
});

it('says that a claim which is still renewed may pass, so that a scheduler starts it again', async () => {
  const first = openRun([]);
  await first.claim({ resumed: undefined, restores: false, config: '' });
  const refused = openRun([]).claim({ resumed: undefined, restores: false, config: '' });
  await expect(refused).rejects.toThrow(/^process \d+ on \S+ is training with its checkpoints in s3:/);
  await expect(refused).rejects.toBeInstanceOf(PeerError);
  await first.release();
});
