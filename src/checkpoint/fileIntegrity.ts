/**
 * Whether the files of a checkpoint are what its manifest says, and reading that does not stop half way. In slices, so that
 * other work goes on while gigabytes are hashed. What the files mean is checkpoint.ts.
 */
import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, UserError } from '../base/errors.ts';
import { MANIFEST_FILE, type Manifest, OPTIMIZER_FILE } from './manifest.ts';
import { damaged, readFailure } from './strictJson.ts';

const HASH_CHUNK_BYTES = 2 ** 20;

/** Compares every file of the manifest with the disk: size first, which costs nothing, then sha256. */
export async function verifyFiles(folder: string, manifest: Manifest, verify: 'all' | 'model'): Promise<void> {
  await verifySizes(folder, manifest);
  for (const [name, expected] of Object.entries(manifest.files)) {
    if (verify === 'model' && name === OPTIMIZER_FILE) continue;
    const path = join(folder, name);
    const sha256 = await hashFile(path, expected.bytes);
    if (sha256 !== expected.sha256) {
      throw damaged(path, `its sha256 is ${sha256}, but ${MANIFEST_FILE} says ${expected.sha256}`);
    }
  }
}

/** @throws UserError when a file of the manifest is missing or of another size */
export async function verifySizes(folder: string, manifest: Manifest): Promise<void> {
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    const path = join(folder, name);
    const found = await stat(path).catch((error: unknown) => {
      throw readFailure(path, error);
    });
    if (!found.isFile()) throw new UserError(`${path} is not a regular file`);
    if (found.size !== bytes) throw damaged(path, `it has ${found.size} bytes, but ${MANIFEST_FILE} says ${bytes}`);
  }
}

async function hashFile(path: string, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw readFailure(path, error);
  });
  try {
    const buffer = new Uint8Array(Math.min(HASH_CHUNK_BYTES, bytes));
    for (let at = 0; at < bytes; ) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, bytes - at));
      await readFully(handle, chunk, at, path);
      hash.update(chunk);
      at += chunk.length;
    }
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

/** Fills `into` from `position` on. @throws UserError when the file ends before, PeerError when reading fails */
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

/** False for anything that cannot be a file; PeerError where that cannot be told. */
export async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(errorCode(error))) return false;
    throw readFailure(path, error);
  }
}
