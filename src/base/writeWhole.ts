/** Replaces small files so that a reader, or whoever comes after a crash, finds the old content or the new one, never a part. */
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { nodeDisk } from './diskOperations.ts';

/** Returns once the content is on the disk under its name. @throws the system's error when the disk refuses */
export async function writeWhole(path: string, content: string): Promise<void> {
  const beside = `${path}.new`;
  try {
    const file = await open(beside, 'w');
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
    await nodeDisk.syncDirectory(dirname(path));
  } catch (error) {
    await rm(beside, { force: true }).catch(() => undefined);
    throw error;
  }
}
