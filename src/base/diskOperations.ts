/**
 * The few operations that change the disk for a checkpoint, for prepared data, or for a file that is replaced (writeWhole.ts). One
 * small interface, so that a test can stop a write after any of them; `nodeDisk` is the only implementation that ships.
 */
import { type FileHandle, mkdir, open, rename, rm, statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { passUnsupportedFolderSync } from './folderSync.ts';

/** A new file, written from its beginning to its end. */
export interface OutputFile {
  write(bytes: Uint8Array): Promise<void>;
  /** Returns once the content is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface DiskOperations {
  /** Makes the folder and its parents, each entry durable; does nothing when it exists. */
  makeDirectory(path: string): Promise<void>;
  /** Fails when the file exists. @param mode its permissions, if not the usual ones */
  createFile(path: string, mode?: number): Promise<OutputFile>;
  rename(from: string, to: string): Promise<void>;
  /** Makes the entries of a folder (names made, renamed, removed) durable, where the file system can. */
  syncDirectory(path: string): Promise<void>;
  removeTree(path: string): Promise<void>;
  /** Bytes that an ordinary user may still write on the file system of `path`; infinite where it does not say its size. */
  freeBytes(path: string): Promise<number>;
}

async function createFile(path: string, mode?: number): Promise<OutputFile> {
  const handle = await open(path, 'wx', mode);
  return {
    async write(bytes) {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, done, bytes.length - done);
        done += bytesWritten;
      }
    },
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}

async function syncDirectory(path: string): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    await handle.sync();
  } catch (error) {
    passUnsupportedFolderSync(error, path);
  } finally {
    await handle?.close();
  }
}

async function makeDirectory(path: string): Promise<void> {
  const topmost = await mkdir(path, { recursive: true });
  if (topmost === undefined) return;
  const stop = dirname(resolve(topmost));
  for (let made = resolve(path); made !== stop; made = dirname(made)) await syncDirectory(dirname(made));
}

export const nodeDisk: DiskOperations = {
  makeDirectory,
  createFile,
  rename,
  syncDirectory,
  removeTree: (path) => rm(path, { recursive: true, force: true }),
  async freeBytes(path) {
    const { bavail, bsize, blocks } = await statfs(path);
    return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize;
  },
};
