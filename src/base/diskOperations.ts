/**
 * The operations that change the disk for checkpoints, prepared data, and replaced files (writeWhole.ts). They are one
 * small interface, so that a test can interrupt a write after any of them; `nodeDisk` is the only implementation outside tests.
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
  /** Creates the folder and its parents durably; does nothing if it exists. */
  makeDirectory(path: string): Promise<void>;
  /** Fails if the file exists. @param mode its permissions; default: those of new files */
  createFile(path: string, mode?: number): Promise<OutputFile>;
  rename(from: string, to: string): Promise<void>;
  /** Makes the entries of a folder (names created, renamed or removed) durable, if the file system supports it. */
  syncDirectory(path: string): Promise<void>;
  removeTree(path: string): Promise<void>;
  /** Free bytes for an ordinary user on the file system of `path`; infinite if it does not report its size. */
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
