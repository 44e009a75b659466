/**
 * Ranges of objects on the local disk, in a cache of bounded size: what is needed soon is fetched ahead, and what was used least recently is
 * removed. An object is named by the sha256 of its content, so several processes and stores can share the cache. A complete object is
 * verified. A range that is needed at once and missing is fetched by a helper process while this one waits.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { mkdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { errorCode, fullMessageOf, PeerError } from '../base/errors.ts';
import { RecentPieces } from './recentPieces.ts';

export interface RangeCacheOptions {
  readonly folder: string;
  /** Bytes of all ranges in the folder. */
  readonly bytesMax: number;
  readonly rangeBytes: number;
}

/** Those of 256 GiB of data. */
const hashBytesMax = 128 * 2 ** 20;
/** Fetches that run at the same time. */
const fetchesMost = 8;
/** A file that was being written so long ago belongs to a process that has ended. */
const abandonedMs = 3600 * 1000;
/** Bytes hashed at a time: a tenth of a millisecond, since a step may be waiting for its samples. */
const hashSliceBytes = 2 ** 16;
/** A use of a range is noted on the disk once in this time: it tells later processes only what was used long ago. */
const touchEveryMs = 60_000;
const RANGE_NAME = /^\d{1,9}-\d{1,12}$/;

type Fetch = () => Promise<Buffer>;

export class RangeCache {
  readonly rangeBytes: number;
  /** The hashes of the pieces of its objects. */
  readonly pieces = new RecentPieces(hashBytesMax);
  readonly #options: RangeCacheOptions;
  /** Bytes of each range file, by its path; the least recently used first. */
  readonly #files = new Map<string, number>();
  #bytes = 0;
  #fetching = 0;
  /** Those that wait, by their path, in order. */
  readonly #queue = new Map<string, { fetch: Fetch; done: (error?: unknown) => void; promise: Promise<void> }>();
  readonly #running = new Map<string, Promise<void>>();
  /** Files that are being removed. A new one with the same name waits for that. */
  readonly #removing = new Map<string, Promise<void>>();
  /** When the use of each was noted on the disk. */
  readonly #touched = new Map<string, number>();
  /** The check that runs, or the last one: those of several objects at once would hold up the process for longer. */
  #checking: Promise<unknown> = Promise.resolve();

  constructor(options: RangeCacheOptions) {
    this.#options = options;
    this.rangeBytes = options.rangeBytes;
    try {
      mkdirSync(options.folder, { recursive: true, mode: 0o700 });
      this.#scan();
    } catch (error) {
      throw new PeerError(
        `the cache of objects cannot be used: ${fullMessageOf(error)}; set XDG_CACHE_HOME to another folder`,
        {
          cause: error,
        },
      );
    }
  }

  /** Where a range of the object with this hash is kept. */
  pathOf(sha256: string, index: number): string {
    return join(this.#options.folder, sha256, `${index}-${this.rangeBytes}`);
  }

  /** Where it is noted that the object was complete and had its hash. */
  markOf(sha256: string): string {
    return join(this.#options.folder, sha256, 'verified');
  }

  has(path: string): boolean {
    return this.#files.has(path);
  }

  /** Notes a use, which keeps the range for longer, also in later processes. */
  used(path: string): void {
    const bytes = this.#files.get(path);
    if (bytes === undefined) return;
    this.#files.delete(path);
    this.#files.set(path, bytes);
    const nowMs = Date.now();
    if (nowMs - (this.#touched.get(path) ?? 0) < touchEveryMs) return;
    this.#touched.set(path, nowMs);
    const now = new Date(nowMs);
    void utimes(path, now, now).catch(() => undefined); // it was removed, or its time does not matter
  }

  /** Notes a new file, and removes others if the cache is too large now. */
  added(path: string, bytes: number): void {
    this.#bytes += bytes - (this.#files.get(path) ?? 0);
    this.#files.delete(path);
    this.#files.set(path, bytes);
    for (const [oldest] of this.#files) {
      if (this.#bytes <= this.#options.bytesMax || oldest === path) break;
      this.remove(oldest);
    }
  }

  /** It is gone at once for this process, and soon from the disk, which may take milliseconds. */
  remove(path: string): void {
    this.#bytes -= this.#files.get(path) ?? 0;
    this.#files.delete(path);
    this.#touched.delete(path);
    const removed = rm(path, { force: true }).catch(() => undefined); // the next process finds it, and removes another
    this.#removing.set(path, removed);
    void removed.then(() => {
      if (this.#removing.get(path) === removed) this.#removing.delete(path);
    });
  }

  /** Fetches a range into the cache, unless it is available. @param isUrgent before those that wait @throws the error of `fetch` */
  fill(path: string, fetch: Fetch, isUrgent: boolean): Promise<void> {
    if (this.#files.has(path)) return Promise.resolve();
    const running = this.#running.get(path);
    if (running !== undefined) return running;
    const waiting = this.#queue.get(path);
    if (waiting !== undefined) {
      if (isUrgent) this.#start(path);
      return waiting.promise;
    }
    let done: (error?: unknown) => void = () => undefined;
    const promise = new Promise<void>((resolve, reject) => {
      done = (error) => (error === undefined ? resolve() : reject(error));
    });
    // Some are fetched ahead and then not needed.
    promise.catch(() => undefined);
    this.#queue.set(path, { fetch, done, promise });
    if (isUrgent || this.#fetching < fetchesMost) this.#start(path);
    return promise;
  }

  /** Runs a check of an object after those that were requested before. */
  inTurn<T>(check: () => Promise<T>): Promise<T> {
    const done = this.#checking.then(check);
    this.#checking = done.catch(() => undefined);
    return done;
  }

  #start(path: string): void {
    const { fetch, done, promise } = this.#queue.get(path)!;
    this.#queue.delete(path);
    this.#running.set(path, promise);
    this.#fetching += 1;
    this.#store(path, fetch).then(
      () => this.#ended(path, done),
      (error: unknown) => this.#ended(path, () => done(error)),
    );
  }

  #ended(path: string, done: () => void): void {
    this.#running.delete(path);
    this.#fetching -= 1;
    const [next] = this.#queue.keys();
    if (next !== undefined && this.#fetching < fetchesMost) this.#start(next);
    done();
  }

  async #store(path: string, fetch: Fetch): Promise<void> {
    const bytes = await fetch();
    await this.#removing.get(path);
    await writeRange(path, bytes);
    this.added(path, bytes.length);
  }

  /** What earlier processes left, the oldest first. */
  #scan(): void {
    const { folder } = this.#options;
    const found: { path: string; bytes: number; usedMs: number }[] = [];
    for (const object of readdirSync(folder)) {
      for (const name of namesIn(join(folder, object))) {
        const path = join(folder, object, name);
        const facts = statSync(path, { throwIfNoEntry: false });
        if (facts === undefined) continue;
        if (RANGE_NAME.test(name)) found.push({ path, bytes: facts.size, usedMs: facts.mtimeMs });
        else if (name.startsWith('.') && Date.now() - facts.mtimeMs > abandonedMs) rmSync(path, { force: true });
      }
    }
    for (const { path, bytes } of found.sort((a, b) => a.usedMs - b.usedMs)) this.added(path, bytes);
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error))) return [];
    throw error;
  }
}

/** Writes a file of the cache, which others see complete or not at all. */
export async function writeRange(path: string, bytes: Uint8Array): Promise<void> {
  const folder = join(path, '..');
  const temporary = join(folder, `.${randomBytes(8).toString('hex')}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(temporary, bytes);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new PeerError(`the cache of objects cannot be written: ${fullMessageOf(error)}`, { cause: error });
  }
}

/** The sha256 of the files, one after another, without the first `skip` bytes; undefined if one is missing. */
export async function hashRanges(paths: readonly string[], skip: number): Promise<string | undefined> {
  const hash = createHash('sha256');
  let left = skip;
  for (const path of paths) {
    let bytes: Buffer;
    try {
      bytes = await readFile(path);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    }
    for (let at = Math.min(left, bytes.length); at < bytes.length; at += hashSliceBytes) {
      hash.update(bytes.subarray(at, at + hashSliceBytes));
      await setImmediate();
    }
    left = Math.max(0, left - bytes.length);
  }
  return hash.digest('hex');
}
