/** Checkpoint writes that the system ends: processes killed with SIGKILL at every disk operation, and a disk that fills up. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type DiskOperations, nodeDisk } from '../../src/base/diskOperations.ts';
import { PeerError } from '../../src/base/errors.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { collect, contentsAt, streamBytes, temporaryFolder, writeTiny } from '../unit/checkpoint/tinyCheckpoint.ts';

const script = join(import.meta.dirname, 'checkpointWriter.mjs');
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Writes the checkpoint of `step`, or with 'open' only looks for the newest, and kills itself at operation `killAt`. */
function runProcess(step: number | 'open', killAt: number) {
  return spawnSync(process.execPath, [script, folder, `${step}`, `${killAt}`], { encoding: 'utf8' });
}

/** What the next start finds: the newest complete step, its values all equal to it, and nothing else but complete checkpoints. */
async function stateAfterRestart(): Promise<number | undefined> {
  const newest = await new CheckpointStore(folder).newestWhole();
  expect(existsSync(folder) ? readdirSync(folder).filter((name) => !/^step-\d{8}$/.test(name)) : []).toEqual([]);
  if (newest === undefined) return undefined;
  expect(newest.skipped).toEqual([]);
  const { checkpoint } = newest;
  const step = checkpoint.trainer!.step;
  for (const part of ['model', 'm', 'v'] as const) {
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

interface Scenario {
  name: string;
  /** Steps written before. */
  before: number[];
  step: number;
  /** The newest complete one before, and after. */
  newest: [before: number | undefined, after: number];
  /** What kills leave in the folder besides complete checkpoints, over all moments. */
  leaves: string[];
}

const scenarios: Scenario[] = [
  { name: 'the first checkpoint of a run', before: [], step: 200, newest: [undefined, 200], leaves: ['.tmp-200'] },
  {
    name: 'a later one that pushes one out',
    before: [100],
    step: 200,
    newest: [100, 200],
    leaves: ['.tmp-100 200', '.tmp-200 100'],
  },
  {
    name: 'a step that is written again',
    before: [200],
    step: 200,
    newest: [200, 200],
    leaves: ['.old-200 .tmp-200', '.old-200 200', '.tmp-200 200'],
  },
];

/** The names in the folder, without what differs from process to process. */
function names(): string {
  const found = existsSync(folder) ? readdirSync(folder) : [];
  return found
    .map((name) => name.replace(/(^|-)step-0*(\d+).*/, '$1$2'))
    .sort()
    .join(' ');
}

describe.each(scenarios)('$name', ({ before, step, newest, leaves }) => {
  test('SIGKILL at every disk operation, in its middle where it has one, of the write and of the start after it', async () => {
    for (const earlier of before) expect(runProcess(earlier, -1)).toMatchObject({ status: 0, stderr: '' });
    const whole = copyOfFolder();
    const left = new Map<string, string>();
    let isAfter = false;
    for await (const { message, found } of killedEverywhere(step, whole, () => {
      if (names().includes('.') && !left.has(names())) left.set(names(), copyOfFolder());
    })) {
      expect(newest, message).toContain(found);
      if (isAfter) expect(found, message).toBe(newest[1]); // once it is visible it stays
      isAfter ||= found === newest[1];
    }
    expect(isAfter).toBe(true);
    expect([...left.keys()].sort()).toEqual(leaves);

    for (const [name, template] of left) {
      for await (const { message, found } of killedEverywhere('open', template)) {
        expect(newest, `${name}, ${message}`).toContain(found);
      }
    }
  });
});

/** What is found after a process was killed at each of its operations in turn; the last one came to its end. */
async function* killedEverywhere(step: number | 'open', template: string, onKilled = (): void => undefined) {
  for (let killAt = 0; ; killAt++) {
    rmSync(folder, { recursive: true, force: true });
    cpSync(template, folder, { recursive: true });
    const { signal, status, stderr } = runProcess(step, killAt);
    onKilled();
    yield { message: `killed at operation ${killAt}: ${stderr}`, found: await stateAfterRestart() };
    if (signal === 'SIGKILL') continue;
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(killAt).toBeGreaterThan(0);
    return;
  }
}

/** Gone when the test is over. */
function copyOfFolder(): string {
  const copy = temporaryFolder();
  cpSync(folder, copy, { recursive: true });
  return copy;
}

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
