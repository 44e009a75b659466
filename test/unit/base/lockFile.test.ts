import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { claimLock, type HeldLock, isLocked, type LockOptions, lockLeaseMs } from '../../../src/base/lockFile.ts';
import { processOf } from '../../../src/base/processes.ts';

let folder = '';
let path = '';
const held: HeldLock[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-lock-'));
  path = join(folder, 'run.lock');
});
afterEach(async () => {
  for (const lock of held.splice(0)) await lock.release();
  await rm(folder, { recursive: true, force: true });
});

async function claim(options: Partial<LockOptions> = {}): Promise<void> {
  held.push(await claimLock(path, { refusal: (who) => `${who} has it`, ...options }));
}

/** As another process left it. */
async function leave(owner: object, ageSeconds = 0): Promise<void> {
  await writeFile(path, `${JSON.stringify({ ...owner, claim: 'left' })}\n`);
  const at = Date.now() / 1_000 - ageSeconds;
  await utimes(path, at, at);
}

const ownerNow = async () => JSON.parse(await readFile(path, 'utf8')) as object;
const elsewhere = { ...processOf(), host: 'elsewhere', boot: 'another' };
const inContainer = { ...processOf(1), pidNamespace: 'pid:[1]' };
/** Renewed while a test waits for it, and kept whatever holds the test up. */
const short = { renewEveryMs: 20, leaseMs: lockLeaseMs };

it('is removed when its process ends without releasing it, unless another has taken it', async () => {
  const listeners = () => process.listeners('exit') as (() => void)[];
  const before = listeners();
  const atExit = () => listeners().find((listener) => !before.includes(listener));
  await claim();
  atExit()?.();
  await expect(stat(path)).rejects.toThrow('ENOENT');
  await leave(elsewhere);
  atExit()?.();
  expect(await ownerNow()).toMatchObject(elsewhere);
  await held.pop()?.release();
  expect(atExit()).toBeUndefined();
});

describe('of a process of this machine', () => {
  it('counts while the process lives', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    await leave(processOf(child.pid), 3_600);
    expect(await isLocked(path)).toBe(true);
    await expect(claim()).rejects.toThrow(`process ${child.pid} has it`);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await isLocked(path)).toBe(false);
    await claim();
    expect(await ownerNow()).toMatchObject(processOf());
  });

  it('does not count when another process has its pid by now', async () => {
    await leave({ ...processOf(process.ppid), startTime: '1' });
    expect(await isLocked(path)).toBe(false);
    await claim();
    expect(await ownerNow()).toMatchObject({ pid: process.pid });
  });

  it('is had once by this process', async () => {
    await claim();
    await expect(claim()).rejects.toThrow('this process has it');
    await held.pop()?.release();
    expect(await readdir(folder)).toEqual([]);
  });
});

describe.each([
  { what: 'another machine', owner: elsewhere, name: `process ${process.pid} on elsewhere` },
  { what: 'another container', owner: inContainer, name: 'process 1 in another container' },
  { what: 'a program that writes a pid only', owner: undefined, name: 'an unknown process' },
])('of $what', ({ owner, name }) => {
  const leaveIt = (ageSeconds?: number) => (owner === undefined ? leavePid(ageSeconds) : leave(owner, ageSeconds));

  async function leavePid(ageSeconds = 0): Promise<void> {
    await writeFile(path, `${process.ppid}\n`);
    const at = Date.now() / 1_000 - ageSeconds;
    await utimes(path, at, at);
  }

  it('counts while it is renewed', async () => {
    await leaveIt();
    expect(await isLocked(path)).toBe(true);
    const renewal = setInterval(() => void utimes(path, new Date(), new Date()), 50);
    try {
      const waits: string[] = [];
      await expect(claim({ onWait: (message) => waits.push(message) })).rejects.toThrow(`${name} has it`);
      expect(waits).toEqual([expect.stringMatching(/^waiting up to (30|2\d) s for /)]);
      expect(waits).toEqual([
        expect.stringContaining(
          `${name}, which has ${path} and cannot be asked from here, to show that it still runs. If it has ended, remove that file`,
        ),
      ]);
    } finally {
      clearInterval(renewal);
    }
  });

  it('does not count when it was renewed long ago', async () => {
    await leaveIt(3_600);
    expect(await isLocked(path)).toBe(false);
    const onWait = vi.fn();
    await claim({ onWait });
    expect(onWait).not.toHaveBeenCalled();
    expect(await ownerNow()).toMatchObject(processOf());
  });

  it('is taken over when it is no longer renewed', async () => {
    await leaveIt();
    // The lease ends once the wait for it has begun, however long that took.
    const times = { renewEveryMs: 20, leaseMs: 3_600_000 };
    const onWait = vi.fn(() => {
      times.leaseMs = 0;
    });
    await claim({ onWait, times });
    expect(onWait).toHaveBeenCalledOnce();
    expect(await ownerNow()).toMatchObject(processOf());
    expect(await readdir(folder)).toEqual(['run.lock']);
  });
});

it('is renewed, and made again where somebody removed it', async () => {
  await claim({ times: short });
  const before = (await stat(path)).mtimeMs;
  await vi.waitFor(async () => expect((await stat(path)).mtimeMs).toBeGreaterThan(before), 10_000);
  await rm(path);
  await vi.waitFor(async () => expect(await ownerNow()).toMatchObject(processOf()), 10_000);
});

it('names the process that holds it, and leaves it there', async () => {
  const taker = await new Promise<string>((resolve) => {
    void claim({ times: short, onLost: resolve }).then(() => leave(elsewhere));
  });
  expect(taker).toBe(`process ${process.pid} on elsewhere`);
  await held.pop()?.release();
  expect(await ownerNow()).toMatchObject(elsewhere);
});

it('is not taken back by a process that slept for so long that another may have had it meanwhile', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
  try {
    const lost = new Promise<string>(
      (onLost) =>
        void claim({ onLost })
          .then(() => rm(path))
          .then(sleep),
    );
    function sleep(): void {
      vi.setSystemTime(Date.now() + 3_600_000);
      vi.advanceTimersByTime(5_000);
    }
    expect(await lost).toBe('an unknown process');
    expect(await readdir(folder)).toEqual([]);
  } finally {
    vi.useRealTimers();
  }
});

it.each(['', 'locked', '{}', '\n'])('that names no process, %j, counts for a moment, and is told of', async (text) => {
  await writeFile(path, text);
  const onWait = vi.fn();
  await claim({ onWait });
  expect(onWait.mock.calls).toEqual([
    [expect.stringMatching(/^waiting up to [12] s for an unknown process, which has /)],
  ]);
  expect(await ownerNow()).toMatchObject(processOf());
});

it('says how long the wait still is', async () => {
  await leave(elsewhere, 27);
  const onWait = vi.fn();
  await claim({ onWait });
  expect(onWait.mock.calls).toEqual([[expect.stringMatching(/^waiting up to [1-4] s for process \d+ on elsewhere/)]]);
});

it('of another machine counts where the clock of the file server is ahead', async () => {
  for (const aheadSeconds of [10, 120, 86_400]) {
    await leave(elsewhere, -aheadSeconds);
    expect(await isLocked(path), `${aheadSeconds} s`).toBe(true);
  }
  // A file that names no process, dated by hand.
  await writeFile(path, 'made by hand\n');
  const at = Date.now() / 1_000 + 86_400;
  await utimes(path, at, at);
  expect(await isLocked(path)).toBe(false);
});

it('that is dated in the future is waited for no longer than another', async () => {
  await leave(elsewhere, -3_600);
  // What counts is how long it was watched.
  await claim({ times: { renewEveryMs: 20, leaseMs: 200 } });
  expect(await ownerNow()).toMatchObject(processOf());
});
