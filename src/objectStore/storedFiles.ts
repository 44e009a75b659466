/**
 * Reads complete files, or objects of a store, by their path. A reader of a checkpoint, shards or a tokenizer does not need to know where
 * they are.
 */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { nodeDisk, type OutputFile } from '../base/diskOperations.ts';
import { UserError } from '../base/errors.ts';
import { isObjectPath } from '../base/objectPath.ts';
import { readBoundedFile, readFailure } from '../base/strictJson.ts';
import { hashFile, isFile, readFully } from '../base/wholeFiles.ts';
import { openBucket } from './buckets.ts';
import { openObject, rangeBytes } from './objectReader.ts';
import { getRange, hasObjects, headObject, putObject } from './objects.ts';
import { ObjectUpload, partBytesFor } from './upload.ts';

/** Bytes of a file that are read and written at a time. */
const usualPieceBytes = 2 ** 20;

/** A file or object that is open for reading. */
export interface StoredFile {
  readonly bytes: number;
  /** Fills `into` from `position` on. @throws UserError if the file ends before, PeerError if reading fails */
  read(into: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

/** @throws UserError if it is missing or not a file; PeerError if that is unknown */
export async function openStored(path: string): Promise<StoredFile> {
  if (isObjectPath(path)) {
    const { client, key } = openBucket(path);
    return await openObject(client, key);
  }
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    const found = await handle.stat();
    if (!found.isFile()) throw new UserError(`${path} is not a regular file`);
    const opened = handle;
    return {
      bytes: found.size,
      read: (into, position) => readFully(opened, into, position, path),
      close: () => opened.close(),
    };
  } catch (error) {
    await handle?.close();
    throw error instanceof UserError ? error : readFailure(path, error);
  }
}

/** False if the path cannot be a file; PeerError if that is unknown. */
export async function isStored(path: string): Promise<boolean> {
  if (!isObjectPath(path)) return await isFile(path);
  const { client, key } = openBucket(path);
  return key !== '' && (await headObject(client, key)) !== undefined;
}

/** Whether the folder exists, or objects whose path begins with it. */
export async function isStoredFolder(path: string): Promise<boolean> {
  if (isObjectPath(path)) {
    const { client, key } = openBucket(path);
    return await hasObjects(client, key === '' ? '' : `${key}/`);
  }
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/**
 * Its size in bytes.
 * @throws UserError if it is missing or not a file; PeerError if reading fails
 */
export async function sizeOfStored(path: string): Promise<number> {
  if (isObjectPath(path)) return (await openStored(path)).bytes;
  const found = await stat(path).catch((error: unknown) => {
    throw readFailure(path, error);
  });
  if (!found.isFile()) throw new UserError(`${path} is not a regular file`);
  return found.size;
}

/** Everything in it, at most `bytesMax` bytes. @throws UserError if it is missing, not a file, or larger; PeerError if reading fails */
export async function readStored(path: string, bytesMax: number): Promise<Buffer> {
  if (!isObjectPath(path)) return await readBoundedFile(path, bytesMax);
  const { client, key } = openBucket(path);
  const facts = await headObject(client, key);
  if (facts === undefined) throw new UserError(`${path} is missing`);
  if (facts.bytes > bytesMax) throw new UserError(`${path} has ${facts.bytes} bytes: expected at most ${bytesMax}`);
  const content = await getRange(client, key, { start: 0, end: facts.bytes, tag: facts.tag });
  if (content === undefined) throw new UserError(`${path} is missing`);
  return content;
}

/** The sha256 of its `bytes` bytes, in lower-case hex. If an object has the `expected` one, later reads of it are verified. */
export async function hashStored(path: string, bytes: number, expected?: string): Promise<string> {
  if (!isObjectPath(path)) return await hashFile(path, bytes);
  const { client, key } = openBucket(path);
  const object = await openObject(client, key);
  try {
    return await object.hash(expected);
  } finally {
    await object.close();
  }
}

/** Writes a small object. */
export async function writeObject(path: string, content: string): Promise<void> {
  const { client, key } = openBucket(path);
  await putObject(client, key, Buffer.from(content));
}

/** Which bytes are copied: those before `to`, from the first on unless `from` says otherwise. */
interface CopiedBytes {
  readonly from?: number;
  readonly to: number;
  /** Bytes that are read and written at a time; default 1 MiB. */
  readonly pieceBytes?: number;
}

/** Copies bytes of a file or object, piece by piece. */
export async function copyBytes(
  source: Pick<StoredFile, 'read'>,
  target: Pick<OutputFile, 'write'>,
  { from = 0, to, pieceBytes = usualPieceBytes }: CopiedBytes,
): Promise<void> {
  const piece = new Uint8Array(Math.min(pieceBytes, to - from));
  for (let at = from; at < to; at += piece.length) {
    const part = piece.subarray(0, Math.min(piece.length, to - at));
    await source.read(part, at);
    await target.write(part);
  }
}

/** Writes a file to a new object, piece by piece. */
export async function uploadStored(from: string, to: string): Promise<void> {
  const { client, key } = openBucket(to);
  const file = await openStored(from);
  const object = new ObjectUpload(client, key, {}, partBytesFor(file.bytes));
  try {
    await copyBytes(file, object, { to: file.bytes });
    await object.sync();
  } finally {
    await Promise.all([object.close(), file.close()]);
  }
}

/** Writes an object to a new file, piece by piece. */
export async function downloadStored(from: string, to: string): Promise<void> {
  const object = await openStored(from);
  const file = await nodeDisk.createFile(to);
  try {
    await copyBytes(object, file, { to: object.bytes, pieceBytes: rangeBytes });
    await file.sync();
  } finally {
    await Promise.all([object.close(), file.close()]);
  }
}
