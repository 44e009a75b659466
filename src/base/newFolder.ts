/** Writes a folder that appears complete or not at all. */
import { randomBytes } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type DiskOperations, nodeDisk } from './diskOperations.ts';
import { errorCode, messageOf, PeerError, UserError } from './errors.ts';

/** A file and its content, in pieces. */
export interface NewFile {
  readonly name: string;
  readonly content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/**
 * Writes the files into a hidden folder beside `path`, makes them durable and renames the folder to `path`.
 * @throws UserError if `path` exists; PeerError if the disk is full or fails. Nothing is left then.
 */
export async function writeNewFolder(
  path: string,
  files: AsyncIterable<NewFile> | Iterable<NewFile>,
  disk: DiskOperations = nodeDisk,
): Promise<void> {
  await refuseExisting(path);
  const hidden = join(dirname(path), `.tmp-${basename(path)}-${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    await disk.makeDirectory(dirname(path));
    await disk.makeDirectory(hidden);
    for await (const { name, content } of files) {
      const file = await disk.createFile(join(hidden, name));
      try {
        for await (const piece of content) await file.write(piece);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    await disk.syncDirectory(hidden);
    await refuseExisting(path); // rename replaces an empty folder
    await disk.rename(hidden, path);
    await disk.syncDirectory(dirname(path));
  } catch (error) {
    await disk.removeTree(hidden).catch(() => undefined); // the first error is the cause
    if (errorCode(error) === '') throw error;
    throw new PeerError(`${path} could not be written: ${messageOf(error)} (its files were removed)`, { cause: error });
  }
}

/** @throws UserError if there is anything at `path` */
export async function refuseExisting(path: string): Promise<void> {
  try {
    await lstat(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw error;
  }
  throw new UserError(`${path} already exists: choose another folder, or remove it`);
}
