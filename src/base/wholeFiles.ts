/**
 * Reads complete files in slices, so that other work continues while gigabytes are hashed. A missing,
 * incomplete or unreadable file is an error that names it.
 */
import { createHash, type Hash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { errorCode } from './errors.ts';
import { damaged, readFailure } from './strictJson.ts';

const HASH_CHUNK_BYTES = 2 ** 20;

/** The sha256 of `bytes` bytes from `start` on, in lower-case hex. @throws as {@link readFully} */
export async function hashFile(path: string, bytes: number, start = 0): Promise<string> {
  return (await hashInto(createHash('sha256'), path, bytes, start)).digest('hex');
}

/** Adds `bytes` bytes from `start` on to `hash`. @throws as {@link readFully} */
export async function hashInto(hash: Hash, path: string, bytes: number, start: number): Promise<Hash> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw readFailure(path, error);
  });
  try {
    const buffer = new Uint8Array(Math.min(HASH_CHUNK_BYTES, bytes));
    for (let at = 0; at < bytes; ) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, bytes - at));
      await readFully(handle, chunk, start + at, path);
      hash.update(chunk);
      at += chunk.length;
    }
  } finally {
    await handle.close();
  }
  return hash;
}

/** Fills `into` from `position` on. @throws UserError if the file ends before, PeerError if reading fails */
export async function readFully(
  handle: Awaited<ReturnType<typeof open>>,
  into: Uint8Array,
  position: number,
  path: string,
): Promise<void> {
  for (let filled = 0; filled < into.length; ) {
    const { bytesRead } = await handle
      .read(into, filled, into.length - filled, position + filled)
      .catch((error: unknown) => {
        throw readFailure(path, error);
      });
    if (bytesRead === 0) throw damaged(path, `it ends at byte ${position + filled}`);
    filled += bytesRead;
  }
}

/** False if the path cannot be a file; PeerError if that is unknown. */
export async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(errorCode(error))) return false;
    throw readFailure(path, error);
  }
}
