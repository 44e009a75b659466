/** What a coordinator looks at before it writes below a prefix of an object store, and what it leaves there. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PeerError } from '../../../src/base/errors.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import type { CheckpointContents } from '../../../src/checkpoint/writer.ts';
import { findCheckpoint } from '../../../src/run/findCheckpoint.ts';
import type { RunMessages } from '../../../src/run/messages.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';
import { checkStored } from '../../../src/run/storedNote.ts';
import { StoredRecords } from '../../../src/run/storedRecords.ts';
import { StoredRun } from '../../../src/run/storedRun.ts';
import { contentsAt, writeTiny } from '../checkpoint/tinyCheckpoint.ts';
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
  // Another start need not wait.
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

const logs = {
  metrics: { append: () => {}, rewind: () => {}, flush: async () => {} },
  events: { flush: async () => {} },
};

async function claimed(): Promise<StoredRun> {
  const run = openRun([]);
  await run.claim({ resumed: undefined, restores: false, config: '' });
  run.follow(logs);
  return run;
}

it('writes no records once it has lost the prefix, which it may not know until its end', async () => {
  await writeFile(folder.metricsPath, '{"step":1}\n');
  const run = await claimed();
  const lost: string[] = [];
  run.onLost(({ message }) => void lost.push(message));
  const owner = JSON.parse(objects.objects.get(claimKey)!.body.toString());
  objects.put(claimKey, Buffer.from(JSON.stringify({ ...owner, claim: 'theirs' })));
  await run.release();
  expect([...objects.objects.keys()].filter((key) => key.includes('metrics'))).toEqual([]);
  expect(lost.join()).toMatch(/both began at once, or this process did not renew/);
  expect(run.isHeld).toBe(false);
});

/** Saves the checkpoint of a step. @param visible called when it has become visible */
async function save(run: StoredRun, step: number, visible: () => void = () => {}): Promise<string> {
  const commit = async () => {
    visible();
    return `step ${step}`;
  };
  const store = {
    newestWhole: async () => undefined,
    beginWrite: async () => ({ write: async () => {}, abort: async () => {}, commit }),
  };
  const writer = await run.guarded(store).beginWrite({ trainer: { step } } as CheckpointContents, () => false);
  return await writer.commit();
}

it('knows a checkpoint as its own if it was killed before it could note that, and those of others as theirs', async () => {
  const run = await claimed();
  await save(run, 4);
  const killed = () => {
    throw new Error('killed');
  };
  await expect(save(run, 8, killed)).rejects.toThrow('killed');
  await run.release();
  const isNewer = (found: number) => checkStored(folder, { directory, found }, messages);
  expect(await isNewer(4)).toBe(false);
  expect(await isNewer(8)).toBe(false);
  expect(await isNewer(12)).toBe(true);
});

it('calls a checkpoint complete although the run directory has no room for its note', async () => {
  const run = await claimed();
  // A folder cannot be replaced by a file.
  await mkdir(folder.storedNotePath);
  expect(await save(run, 4)).toBe('step 4');
  expect(await save(run, 8)).toBe('step 8');
  await run.release();
  expect(said.filter((line) => line.includes('stored-checkpoint.json could not be written'))).toHaveLength(1);
});

it('begins a new edition of metrics that were rewound while their first one was written', async () => {
  const records = new StoredRecords(directory, folder);
  await writeFile(folder.metricsPath, '{"step":1}\n{"step":2}\n');
  objects.fault = (_, request) => {
    if (request.startsWith('PUT runs/a/run/metrics-000001')) records.rewound();
    return undefined;
  };
  await records.keep();
  await writeFile(folder.metricsPath, '{"step":1}\n{"step":2,"again":true}\n{"step":3}\n');
  await records.keep();
  const parts = [...objects.objects].filter(([key]) => key.includes('metrics'));
  expect(parts.map(([key]) => key)).toEqual(['runs/a/run/metrics-000002-000000.jsonl']);
  expect(parts[0]![1].body.toString()).toContain('"again":true');
});

it('brings back the records of a run up to a part that is missing, and says which', async () => {
  const records = new StoredRecords(directory, folder);
  let lines = '';
  for (const step of [1, 2, 3]) {
    lines += `{"step":${step}}\n`;
    await writeFile(folder.metricsPath, lines);
    await writeFile(folder.eventsPath, lines);
    await records.keep();
  }
  await rm(folder.metricsPath);
  expect(await records.restore()).toEqual({ hasAny: true, missing: [] });
  expect(await readFile(folder.metricsPath, 'utf8')).toBe(lines);

  const part = (kind: string, number: number) => `runs/a/run/${kind}-000001-00000${number}.jsonl`;
  objects.objects.delete(part('metrics', 1));
  objects.objects.delete(part('events', 0));
  await rm(folder.eventsPath);
  const run = openRun([]);
  await run.claim({ resumed: undefined, restores: true, config: '' });
  expect(await readFile(folder.metricsPath, 'utf8')).toBe('{"step":1}\n');
  await expect(readFile(folder.eventsPath)).rejects.toThrow('ENOENT');
  const lost = (path: string) =>
    `s3://bucket/${path} is missing: the records of the run that follow it are lost. The checkpoints are not affected`;
  expect(said).toEqual([lost(part('metrics', 1)), lost(part('events', 0))]);
  await run.release();
});

it('forgets an edition of metrics that was begun before the log had dropped their lines', async () => {
  await writeFile(folder.metricsPath, '{"step":1}\n{"step":2}\n');
  const run = await claimed();
  const flushed: (() => void)[] = [];
  let isQueued = false;
  const flush = () => (isQueued ? new Promise<void>((done) => void flushed.push(done)) : Promise.resolve());
  const metrics = run.follow({ ...logs, metrics: { ...logs.metrics, flush } });
  isQueued = true;
  metrics.rewind(1);
  isQueued = false;
  // As of a checkpoint that was being written: the file has the old lines.
  await save(run, 2);
  await writeFile(folder.metricsPath, '{"step":1}\n{"step":2,"again":true}\n{"step":3}\n');
  for (const done of flushed) done();
  await save(run, 3);
  const parts = [...objects.objects.keys()].filter((key) => key.includes('metrics'));
  expect(parts).toEqual(['runs/a/run/metrics-000002-000000.jsonl']);
  await run.release();
});

it('--best of a prefix takes a checkpoint that was evaluated after it was written', async () => {
  for (const [step, valLoss] of [
    [0, null],
    [5, 9],
  ] as const) {
    await writeTiny(new CheckpointStore(directory), contentsAt(step, { valLoss }));
  }
  const choice = { path: directory, best: true, cwd, verify: 'all', onWarning: say } as const;
  expect((await findCheckpoint(choice)).step).toBe(5);
  const lines = [
    { step: 0, valLoss: 4 },
    { step: 5, valLoss: 9 },
  ];
  await writeFile(folder.metricsPath, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  await new StoredRecords(directory, folder).keep();
  expect((await findCheckpoint(choice)).step).toBe(0);
  expect(said).toEqual([]);
});
