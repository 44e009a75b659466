/**
 * Replaces a file atomically: readers find the old contents or the new ones, even after a crash or power failure, never a
 * part. All files of a few megabytes are replaced in this way. Two others perform the same steps themselves: a checkpoint renames a
 * folder (checkpoint/writer.ts), and a journal must not wait (records/journal.ts).
 */
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { nodeDisk } from './diskOperations.ts';

export interface WriteWholeOptions {
  /** Permissions of the file; default: those of new files of the process. */
  readonly mode?: number;
  /** The temporary file in the same folder. Concurrent writers need different names. */
  readonly beside?: string;
}

/** Returns once the contents are on disk under the file's name. @throws the system's error if the disk refuses */
export async function writeWhole(
  path: string,
  content: string | Uint8Array,
  { mode, beside = `${path}.new` }: WriteWholeOptions = {},
): Promise<void> {
  try {
    await rm(beside, { force: true }); // left by a killed process
    const file = await nodeDisk.createFile(beside, mode);
    try {
      await file.write(typeof content === 'string' ? Buffer.from(content) : content);
      await file.sync();
    } finally {
      await file.close();
    }
    await nodeDisk.rename(beside, path);
    await nodeDisk.syncDirectory(dirname(path));
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw error;
  }
}
