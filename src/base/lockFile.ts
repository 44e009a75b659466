/**
 * A file that says which process works in a folder. Creating it is what decides between two; one that a killed process left does
 * not count.
 */
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, UserError } from './errors.ts';
import { isAlive } from './processes.ts';

/** What takes no longer than this, unless the process is killed in the middle of it: to write a pid, to take over. */
const writtenWithinMs = 2_000;

/**
 * Claims `path` for this process. The caller removes it with {@link releaseLock}.
 * @param refusal the message when the living process `owner` has it
 * @throws UserError with that message; the system's error when the file cannot be written
 */
export async function claimLock(path: string, refusal: (owner: number) => string): Promise<void> {
  for (;;) {
    try {
      await writeFile(path, `${process.pid}\n`, { flag: 'wx' });
      return;
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
    }
    const owner = await ownerOf(path);
    if (owner > 0 && owner !== process.pid && isAlive(owner)) throw new UserError(refusal(owner));
    if (owner === 0 && (await ageMs(path)) < writtenWithinMs) await sleep(20);
    else if (await takeOver(path, owner)) return;
  }
}

export async function releaseLock(path: string): Promise<void> {
  await rm(path, { force: true });
}

/** Whether a living process has it. */
export async function isLocked(path: string): Promise<boolean> {
  const owner = await ownerOf(path);
  return owner > 0 && isAlive(owner);
}

/** 0 if nobody's pid is in it, or it is gone. */
async function ownerOf(path: string): Promise<number> {
  return Number(await readFile(path, 'utf8').catch(() => '')) || 0;
}

async function ageMs(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => Date.now() - mtimeMs,
    () => 0,
  );
}

/**
 * Puts this process in the place of one that was killed. One at a time: whoever comes second finds another owner there. @returns
 * whether it did
 */
async function takeOver(path: string, owner: number): Promise<boolean> {
  const turn = `${path}.turn`;
  try {
    await writeFile(turn, '', { flag: 'wx' });
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    if ((await ageMs(turn)) < writtenWithinMs) await sleep(20);
    else await rm(turn, { force: true });
    return false;
  }
  try {
    if ((await ownerOf(path)) !== owner) return false;
    // Without waiting for the disk, which may take longer than a turn may: a pid means nothing after a power cut.
    const mine = `${path}.${process.pid}`;
    await writeFile(mine, `${process.pid}\n`);
    await rename(mine, path);
    return true;
  } finally {
    await rm(turn, { force: true });
  }
}
