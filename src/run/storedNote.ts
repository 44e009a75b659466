/** What a run directory knows of its checkpoints in an object store, so that a resume sees if they are missing, or those of another directory. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { errorCode, messageOf, PeerError, UserError } from '../base/errors.ts';
import { isObjectPath } from '../base/objectPath.ts';
import { shortPath } from '../base/shortPath.ts';
import { writeWhole } from '../base/writeWhole.ts';
import { openBucket } from '../objectStore/buckets.ts';
import type { RunMessages } from './messages.ts';
import type { RunFolder } from './runFolder.ts';

const noteSchema = z.object({
  directory: z.string(),
  /** The newest that it has written. */
  step: z.int().nonnegative().optional(),
  /** One that it was about to make visible. */
  writing: z.int().nonnegative().optional(),
});
export type StoredNote = z.infer<typeof noteSchema>;

/** @throws the system's error if the disk refuses */
export async function writeNote(folder: RunFolder, note: StoredNote): Promise<void> {
  await writeWhole(folder.storedNotePath, `${JSON.stringify(note)}\n`);
}

/** Undefined if there is none, or one of another version. @throws PeerError if it cannot be read */
export async function readNote(folder: RunFolder): Promise<StoredNote | undefined> {
  try {
    return noteSchema.safeParse(JSON.parse(await readFile(folder.storedNotePath, 'utf8'))).data;
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw new PeerError(`cannot read ${folder.storedNotePath}: ${messageOf(error)}`);
  }
}

/**
 * Compares what the run directory knows of its checkpoints with what the store has.
 * @param found the newest step in the store
 * @returns whether another run directory has written checkpoints since, so that the records of the store are newer
 * @throws UserError if the store has none of the run's checkpoints
 */
export async function checkStored(
  folder: RunFolder,
  { directory, found }: { readonly directory: string; readonly found: number | undefined },
  { warn }: Pick<RunMessages, 'warn'>,
): Promise<boolean> {
  if (!isObjectPath(directory)) return false;
  const note = await readNote(folder);
  if (note === undefined || note.directory !== directory) return false;
  const { step = -1, writing } = note;
  if (found === undefined) {
    if (step < 0) return false;
    const { client } = openBucket(directory);
    throw new UserError(
      `${shortPath(folder.path)} wrote the checkpoint of step ${step} to ${directory}, but ${client.endpoint} has none there: check the endpoint, the bucket and the keys. ` +
        `If they were removed, and the run is to begin again, remove ${shortPath(folder.storedNotePath)}`,
    );
  }
  if (found < step) {
    warn(`${directory} lacks the checkpoint of step ${step}, which this run wrote: the run resumes from step ${found}`);
  }
  return found > step && found !== writing;
}
