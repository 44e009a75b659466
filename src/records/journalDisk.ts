/**
 * The few operations with which a journal changes the disk. One small interface, so that a test can stop a write before any
 * of them; `nodeJournalDisk` is the only implementation that ships. All but one are synchronous: a record must be out of the
 * process before what it says is acted on.
 */
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { passUnsupportedFolderSync } from '../base/folderSync.ts';

export interface JournalDisk {
  /** Opens the file to write at its end. @returns a descriptor */
  open(path: string): number;
  /** The same for a new empty file, which replaces an existing one. */
  create(path: string): number;
  /** @returns how many bytes were written; fewer than given when the disk fills up */
  write(descriptor: number, bytes: Uint8Array): number;
  /** Returns when the content is on disk. */
  sync(descriptor: number): void;
  syncInBackground(descriptor: number): Promise<void>;
  close(descriptor: number): void;
  /** Truncates the file to this number of bytes, durably. */
  truncate(path: string, bytes: number): void;
  rename(from: string, to: string): void;
  /** Makes changed entries in the folder of the file (created, renamed, removed) durable, if the file system supports it. */
  syncFolderOf(path: string): void;
  /** Does nothing if it does not exist. */
  remove(path: string): void;
}

export const nodeJournalDisk: JournalDisk = {
  open: (path) => openSync(path, 'a'),
  create(path) {
    rmSync(path, { force: true });
    return openSync(path, 'ax');
  },
  write: (descriptor, bytes) => writeSync(descriptor, bytes),
  sync: fdatasyncSync,
  syncInBackground: (descriptor) =>
    new Promise((resolve, reject) => {
      fdatasync(descriptor, (error) => (error === null ? resolve() : reject(error)));
    }),
  close: closeSync,
  truncate(path, bytes) {
    const descriptor = openSync(path, 'r+');
    try {
      ftruncateSync(descriptor, bytes);
      fdatasyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  },
  rename: renameSync,
  syncFolderOf(path) {
    const folder = dirname(path);
    let descriptor: number | undefined;
    try {
      descriptor = openSync(folder, 'r');
      fsyncSync(descriptor);
    } catch (error) {
      passUnsupportedFolderSync(error, folder);
    } finally {
      if (descriptor !== undefined) closeSync(descriptor);
    }
  },
  remove: (path) => rmSync(path, { force: true }),
};
