/**
 * A copy of an object on the local disk, from the read that verified it to the one that uses it, so that a checkpoint travels once. The file has no
 * name, so its space is free when this process ends or has not used it for some minutes. If the disk has no room, no copy is made.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { readFully } from '../base/wholeFiles.ts';
import { cacheFolder } from './cacheFolder.ts';

/** After the last use. */
const keptMs = 5 * 60_000;
/** The disk keeps this many times the size of the copy free. */
const roomFactor = 2;

export class ReadCopy {
  readonly #file: FileHandle;
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Undefined if the disk refuses it or has no room. */
  static async begin(bytes: number): Promise<ReadCopy | undefined> {
    try {
      const folder = cacheFolder('checkpoints');
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const { bavail, bsize } = await statfs(folder);
      if (bavail * bsize < (1 + roomFactor) * bytes) return undefined;
      const path = join(folder, randomBytes(8).toString('hex'));
      const file = await open(path, 'wx+', 0o600);
      try {
        await rm(path);
      } catch (error) {
        await file.close();
        throw error;
      }
      return new ReadCopy(file);
    } catch {
      return undefined; // the object is fetched again
    }
  }

  /** Adds the next bytes. @returns whether the disk took them */
  async add(bytes: Uint8Array): Promise<boolean> {
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, this.#bytes + done);
        done += bytesWritten;
      }
      this.#bytes += bytes.length;
      return true;
    } catch {
      await this.close();
      return false;
    }
  }

  /** The bytes from `start` to before `end`; undefined if they cannot be read any more. */
  async read(start: number, end: number): Promise<Buffer | undefined> {
    if (this.#isClosed) return undefined;
    this.keep();
    try {
      const bytes = Buffer.allocUnsafe(end - start);
      await readFully(this.#file, bytes, start, 'a copy of an object');
      return bytes;
    } catch {
      return undefined;
    }
  }

  /** Keeps it for some minutes from now on. */
  keep(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.close(), keptMs).unref();
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#file.close().catch(() => undefined);
  }
}
