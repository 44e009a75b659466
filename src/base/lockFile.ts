/**
 * A file that names the process working in a folder. The process that creates it wins; a file left by a killed process does
 * not count. The owner renews it every few seconds. This shows that it still runs to processes on other machines or in other
 * containers, which cannot check this otherwise.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { type FileHandle, open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, UserError } from './errors.ts';
import { fateOf, type ProcessIdentity, processOf } from './processes.ts';

/** Maximum time to write a line or take over a lock, unless the process is killed meanwhile. */
const writtenWithinMs = 2_000;
const renewEveryMs = 5_000;
/** If the owner cannot be checked, a lock that was not renewed for this time counts as abandoned. */
export const lockLeaseMs = 30_000;

/** The owner of a lock. */
export interface LockOwner extends ProcessIdentity {
  /** Different for each claim. */
  readonly claim: string;
}

export interface LockOptions {
  /** The error message if a living process owns the lock; `who` is `process 12 (on host a)`. */
  readonly refusal: (who: string) => string;
  /** Called once, with a message for people, before waiting for an owner that cannot be checked. */
  readonly onWait?: (message: string) => void;
  /** Called if another process has taken the lock: this process must stop writing. */
  readonly onLost?: (who: string) => void;
  /** Default: 5 and 30 seconds. For tests. */
  readonly times?: { readonly renewEveryMs: number; readonly leaseMs: number };
}

export interface HeldLock {
  /**
   * Releases the lock, unless another process owns it by now.
   * @param move moves the lock's folder and returns the lock's new path; the lock is not renewed meanwhile
   */
  release(move?: () => Promise<string>): Promise<void>;
}

/**
 * Claims `path` for this process.
 * @throws UserError with the refusal; the system's error if the file cannot be written
 */
export async function claimLock(path: string, options: LockOptions): Promise<HeldLock> {
  const { refusal, onWait, times = { renewEveryMs, leaseMs: lockLeaseMs } } = options;
  const own = `${JSON.stringify({ ...processOf(), claim: randomBytes(4).toString('hex') } satisfies LockOwner)}\n`;
  let watched: (Lock & { readonly sinceMs: number }) | undefined;
  while (!(await create(path, own))) {
    const lock = await readLock(path);
    if (lock === undefined) continue;
    const fate = lock.owner === undefined ? 'unknown' : fateOf(lock.owner);
    const isRenewed = watched?.text === lock.text && watched.changedMs !== lock.changedMs;
    if (fate === 'alive' || isRenewed) throw new UserError(refusal(nameOf(lock.owner)));
    const isFirst = watched === undefined;
    if (watched?.text !== lock.text) watched = { ...lock, sinceMs: performance.now() };
    // By the clock of the file system, which may be set back meanwhile, or by how long it has been watched.
    const idleMs = Math.max((await nowAt(path)) - lock.changedMs, performance.now() - watched.sinceMs);
    const leftMs = staleAfterMs(lock, times.leaseMs) - idleMs;
    if (fate === 'unknown' && leftMs > 0) {
      if (isFirst) onWait?.(waitingFor(lock.owner, path, leftMs));
      await sleep(Math.min(250, times.renewEveryMs / 4));
    } else if (await takeOver(path, lock, own)) break;
  }
  return hold(path, own, options);
}

/** Whether a living process owns the lock, as far as this process can check. */
export async function isLocked(path: string): Promise<boolean> {
  const lock = await readLock(path);
  if (lock === undefined) return false;
  const fate = lock.owner === undefined ? 'unknown' : fateOf(lock.owner);
  if (fate !== 'unknown') return fate === 'alive';
  const ageMs = Date.now() - lock.changedMs;
  // The clock of another machine may be ahead, so a date in the future can belong to a process that runs. One that names no process was set by hand.
  return lock.owner === undefined ? Math.abs(ageMs) < staleAfterMs(lock) : ageMs < staleAfterMs(lock);
}

/** After how long without a change a lock was left, where its process cannot be asked. What names no process protects nothing. */
function staleAfterMs({ owner, text }: Lock, leaseMs = lockLeaseMs): number {
  return owner === undefined && !/\d/.test(text) ? writtenWithinMs : leaseMs;
}

function waitingFor(owner: LockOwner | undefined, path: string, leftMs: number): string {
  const seconds = Math.max(1, Math.ceil(leftMs / 1_000));
  return `waiting up to ${seconds} s for ${nameOf(owner)}, which has ${path} and cannot be asked from here, to show that it still runs. If it has ended, remove that file`;
}

/** `process 12`, followed by `(on host a)` if it is not on this machine. */
function nameOf(owner: LockOwner | undefined): string {
  if (owner === undefined) return 'an unknown process';
  const { host, pidNamespace, pid, startTime } = processOf();
  if (owner.host !== host) return `process ${owner.pid} on ${owner.host}`;
  if (owner.pidNamespace !== pidNamespace) return `process ${owner.pid} in another container`;
  return owner.pid === pid && owner.startTime === startTime ? 'this process' : `process ${owner.pid}`;
}

/** A lock as found on disk. */
interface Lock {
  readonly text: string;
  /** Undefined if the contents are incomplete or not written by Lockstep. */
  readonly owner: LockOwner | undefined;
  /** Time by the clock of the file system. */
  readonly changedMs: number;
}

/** Undefined if it does not exist. The file is opened first, because a network file system may have cached old attributes of a name. */
async function readLock(path: string): Promise<Lock | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const text = await file.readFile('utf8');
    return { text, owner: parseOwner(text), changedMs: (await file.stat()).mtimeMs };
  } finally {
    await file.close();
  }
}

function parseOwner(text: string): LockOwner | undefined {
  let owner: Partial<LockOwner> | null;
  try {
    owner = JSON.parse(text) as Partial<LockOwner> | null;
  } catch {
    return undefined;
  }
  const isText = (value: unknown): boolean => typeof value === 'string';
  const texts = [owner?.host, owner?.boot, owner?.pidNamespace, owner?.startTime, owner?.claim];
  // A pid of 0 or less stands for several processes.
  return texts.every(isText) && Number.isInteger(owner?.pid) && owner!.pid! > 0 ? (owner as LockOwner) : undefined;
}

/** The time by the clock that dates the files of a folder; on a network file system, that of another machine. */
async function nowAt(path: string): Promise<number> {
  const probe = beside(path);
  try {
    await writeFile(probe, '');
    return (await stat(probe)).mtimeMs;
  } finally {
    await rm(probe, { force: true });
  }
}

/** A name that no other process uses. */
function beside(path: string): string {
  return `${path}.${randomBytes(6).toString('hex')}`;
}

/** @returns whether the file is new */
async function create(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    return false;
  }
}

/**
 * Replaces a killed owner by this process. Only one process at a time succeeds: the second one finds a new owner. @returns
 * whether it succeeded
 */
async function takeOver(path: string, left: Lock, own: string): Promise<boolean> {
  const turn = `${path}.turn`;
  if (!(await create(turn, ''))) {
    const other = await readLock(turn);
    if (other === undefined || (await nowAt(path)) - other.changedMs < writtenWithinMs) await sleep(20);
    else await rm(turn, { force: true });
    return false;
  }
  try {
    const lock = await readLock(path);
    if (lock?.text !== left.text || lock.changedMs !== left.changedMs) return false;
    // Does not wait for the disk, which may take longer than allowed here; a lock has no meaning after a power failure.
    const mine = beside(path);
    await writeFile(mine, own);
    await rename(mine, path);
    return true;
  } finally {
    await rm(turn, { force: true });
  }
}

/** Renews the lock until it is released or lost. */
function hold(path: string, own: string, { onLost, times }: LockOptions): HeldLock {
  let work = Promise.resolve();
  let isHeld = true;
  const { leaseMs } = times ?? { leaseMs: lockLeaseMs };
  // Uses a clock that continues while the machine sleeps.
  let renewedMs = Date.now();
  const timer = setInterval(() => {
    work = work.then(renew);
  }, times?.renewEveryMs ?? renewEveryMs);
  // The timer does not keep the process alive.
  timer.unref();

  // Also where the process is ended at once, such as by a signal while it starts.
  process.once('exit', releaseNow);
  function releaseNow(): void {
    try {
      if (isHeld && readFileSync(path, 'utf8') === own) rmSync(path, { force: true });
    } catch {
      // The process named in it has ended, so the file stops nobody.
    }
  }

  async function renew(): Promise<void> {
    if (!isHeld) return;
    const nowMs = Date.now();
    try {
      const file = await open(path, 'r+');
      try {
        const text = await file.readFile('utf8');
        if (text === own) {
          await file.write(own, 0);
          renewedMs = nowMs;
        } else lose(text);
      } finally {
        await file.close();
      }
    } catch (error) {
      // After any other disk error, the next attempt may succeed.
      if (errorCode(error) !== 'ENOENT') return;
      // Another process may have taken and released it while this one slept, so the folder may have changed.
      if (nowMs - renewedMs > leaseMs) lose('');
      // The file was deleted; this is not a reason to admit another process.
      else if (await create(path, own).catch(() => false)) renewedMs = nowMs;
    }
  }

  function lose(text: string): void {
    isHeld = false;
    process.off('exit', releaseNow);
    clearInterval(timer);
    onLost?.(nameOf(parseOwner(text)));
  }

  return {
    async release(move) {
      isHeld = false;
      process.off('exit', releaseNow);
      clearInterval(timer);
      await work;
      let at = path;
      try {
        if (move !== undefined) at = await move();
      } finally {
        if ((await readLock(at))?.text === own) await rm(at, { force: true });
      }
    },
  };
}
