/**
 * `RUN/again`: a file that says that the run was asked to end before its last step, and has saved what it computed. A batch script asks
 * for it, because the exit code of `srun` is the highest of all tasks, and a lost node hides 85.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, UserError } from '../base/errors.ts';
import { writeWhole } from '../base/writeWhole.ts';

/** @param runDir the run directory, which is made if it does not exist */
export async function writeAgain(runDir: string): Promise<void> {
  await mkdir(runDir, { recursive: true });
  await writeWhole(pathIn(runDir), 'start this run again: it is not finished\n');
}

/** Removes the file of an earlier start. @throws UserError if the run directory cannot be written to */
export async function removeAgain(runDir: string): Promise<void> {
  try {
    await rm(pathIn(runDir), { force: true });
  } catch (error) {
    throw new UserError(`cannot write to the run directory ${runDir}: ${messageOf(error)}`);
  }
}

function pathIn(runDir: string): string {
  return join(runDir, 'again');
}
