/**
 * Replaces a file so that a reader, or whoever comes after a crash or a power cut, finds the old content or the new one, never a
 * part: the one way to do so for files of a few megabytes. What cannot use it does the same steps itself: a checkpoint renames a
 * folder (checkpoint/writer.ts), and a journal may not wait (records/journal.ts).
 */
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { nodeDisk } from './diskOperations.ts';

export interface WriteWholeOptions {
  /** Permissions of the file; default: what the process gives to new files. */
  readonly mode?: number;
  /** Where it is written first, in the same folder. Writers that may run at the same time need names of their own. */
  readonly beside?: string;
}

/** Returns once the content is on the disk under its name. @throws the system's error when the disk refuses */
export async function writeWhole(
  path: string,
  content: string | Uint8Array,
  { mode, beside = `${path}.new` }: WriteWholeOptions = {},
): Promise<void> {
  try {
    await rm(beside, { force: true }); // of a process that was killed
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
