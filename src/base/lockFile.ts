/**
 * A file that says which process works in a folder. Creating it is what decides between two; one that a killed process left does
 * not count.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { errorCode, UserError } from './errors.ts';
import { isAlive } from './processes.ts';

/**
 * Claims `path` for this process. The caller removes it with {@link releaseLock}.
 * @param refusal the message when the living process `owner` has it
 * @throws UserError with that message; the system's error when the file cannot be written
 */
export async function claimLock(path: string, refusal: (owner: number) => string): Promise<void> {
  for (;;) {
    try {
      await writeFile(path, `${process.pid}\n`, { flag: 'wx' });
      return;
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
    }
    const owner = Number(await readFile(path, 'utf8').catch(() => ''));
    if (owner > 0 && owner !== process.pid && isAlive(owner)) throw new UserError(refusal(owner));
    // Left by a process that was killed.
    await rm(path, { force: true });
  }
}

export async function releaseLock(path: string): Promise<void> {
  await rm(path, { force: true });
}
