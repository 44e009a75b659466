/**
 * A file that says which process works in a folder. Creating it is what decides between two; one that a killed process left does
 * not count. Whoever has it renews it every few seconds: that is how a process of another machine or container, of which nobody here
 * can say whether it lives, shows that it does.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, UserError } from './errors.ts';
import { fateOf, type ProcessIdentity, processOf } from './processes.ts';

/** What takes no longer than this, unless the process is killed in the middle of it: to write a line, to take over. */
const writtenWithinMs = 2_000;
const renewEveryMs = 5_000;
/** A lock that was not renewed for so long was left, where the process cannot be asked. */
export const lockLeaseMs = 30_000;

/** Who has a lock. */
export interface LockOwner extends ProcessIdentity {
  /** Another for each claim. */
  readonly claim: string;
}

export interface LockOptions {
  /** The message when a living process has it; `who` is `process 12 (on host a)`. */
  readonly refusal: (who: string) => string;
  /** Called once before it waits for an owner that cannot be asked, with what people should know. */
  readonly onWait?: (message: string) => void;
  /** Called when another process has taken the lock meanwhile: this one must write no more. */
  readonly onLost?: (who: string) => void;
  /** Default: 5 and 30 seconds. For tests. */
  readonly times?: { readonly renewEveryMs: number; readonly leaseMs: number };
}

export interface HeldLock {
  /**
   * Gives it up, unless another process has it by now.
   * @param move gives the lock another path, with the folder that it lies in, and says which; it is not renewed meanwhile
   */
  release(move?: () => Promise<string>): Promise<void>;
}

/**
 * Claims `path` for this process.
 * @throws UserError with the refusal; the system's error when the file cannot be written
 */
export async function claimLock(path: string, options: LockOptions): Promise<HeldLock> {
  const { refusal, onWait, times = { renewEveryMs, leaseMs: lockLeaseMs } } = options;
  const own = `${JSON.stringify({ ...processOf(), claim: randomBytes(4).toString('hex') } satisfies LockOwner)}\n`;
  let watched: Lock | undefined;
  while (!(await create(path, own))) {
    const lock = await readLock(path);
    if (lock === undefined) continue;
    const fate = lock.owner === undefined ? 'unknown' : fateOf(lock.owner);
    const isRenewed = watched?.text === lock.text && watched.changedMs !== lock.changedMs;
    if (fate === 'alive' || isRenewed) throw new UserError(refusal(nameOf(lock.owner)));
    const staleMs = lock.text === '' ? writtenWithinMs : times.leaseMs;
    if (fate === 'unknown' && (await nowAt(path)) - lock.changedMs < staleMs) {
      if (watched === undefined && lock.text !== '') onWait?.(waitingFor(lock.owner, path, times.leaseMs));
      watched = lock;
      await sleep(Math.min(250, times.renewEveryMs / 4));
    } else if (await takeOver(path, lock, own)) break;
  }
  return hold(path, own, options);
}

/** Whether a living process has it, as far as can be told from here. */
export async function isLocked(path: string): Promise<boolean> {
  const lock = await readLock(path);
  if (lock === undefined) return false;
  const fate = lock.owner === undefined ? 'unknown' : fateOf(lock.owner);
  return fate === 'alive' || (fate === 'unknown' && Date.now() - lock.changedMs < lockLeaseMs);
}

function waitingFor(owner: LockOwner | undefined, path: string, leaseMs: number): string {
  return `${nameOf(owner)} has ${path}, and cannot be asked from here: waiting up to ${Math.ceil(leaseMs / 1_000)} s for it to show that it still runs`;
}

/** `process 12`, and where that is not here: `(on host a)`. */
function nameOf(owner: LockOwner | undefined): string {
  if (owner === undefined) return 'an unknown process';
  const { host, pidNamespace, pid, startTime } = processOf();
  if (owner.host !== host) return `process ${owner.pid} on ${owner.host}`;
  if (owner.pidNamespace !== pidNamespace) return `process ${owner.pid} in another container`;
  return owner.pid === pid && owner.startTime === startTime ? 'this process' : `process ${owner.pid}`;
}

/** A lock as it is found. */
interface Lock {
  readonly text: string;
  /** Undefined for what no process of ours wrote, and for what is being written. */
  readonly owner: LockOwner | undefined;
  /** By the clock of the file system. */
  readonly changedMs: number;
}

/** Undefined if there is none. Opened first: what a network file system remembers of a name may be old. */
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

/** The time by the clock that dates the files of a folder, which on a network is another machine's. */
async function nowAt(path: string): Promise<number> {
  const probe = beside(path);
  try {
    await writeFile(probe, '');
    return (await stat(probe)).mtimeMs;
  } finally {
    await rm(probe, { force: true });
  }
}

/** A name that no other process takes. */
function beside(path: string): string {
  return `${path}.${randomBytes(6).toString('hex')}`;
}

/** @returns whether it was not there before */
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
 * Puts this process in the place of one that was killed. One at a time: whoever comes second finds another owner there. @returns
 * whether it did
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
    // Without waiting for the disk, which may take longer than a turn may: a lock means nothing after a power cut.
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
  // By a clock that goes on while the machine sleeps.
  let renewedMs = Date.now();
  const timer = setInterval(() => {
    work = work.then(renew);
  }, times?.renewEveryMs ?? renewEveryMs);
  // A process that has nothing else to do ends.
  timer.unref();

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
      // Whatever else the disk says, the next time may be better.
      if (errorCode(error) !== 'ENOENT') return;
      // Another process may have taken it while this one slept, and be done: the folder is not as this one knew it.
      if (nowMs - renewedMs > leaseMs) lose('');
      // Somebody has removed it: no reason to let another process in.
      else if (await create(path, own).catch(() => false)) renewedMs = nowMs;
    }
  }

  function lose(text: string): void {
    isHeld = false;
    clearInterval(timer);
    onLost?.(nameOf(parseOwner(text)));
  }

  return {
    async release(move) {
      isHeld = false;
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
