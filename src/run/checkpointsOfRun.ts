/** Where a run keeps its checkpoints: in its directory, or where its config says (`checkpoint.directory`). */
import { existsSync } from 'node:fs';
import { UserError } from '../base/errors.ts';
import { isObjectPath } from '../base/objectPath.ts';
import { optionName } from '../base/ownCommand.ts';
import type { CheckpointStore } from '../checkpoint/store.ts';
import type { Config } from '../config/configTypes.ts';
import { loadConfig } from '../config/load.ts';
import { isStoredFolder } from '../objectStore/storedFiles.ts';
import { RunFolder } from './runFolder.ts';

/** The folder or prefix for the checkpoints of a run with this config. */
export function checkpointsFor({ checkpoint }: Config, { checkpointsPath }: RunFolder): string {
  return checkpoint.directory || checkpointsPath;
}

/** The folder or prefix of a run's checkpoints; undefined if `folder` is not a run directory. */
export async function checkpointsIn(folder: string): Promise<string | undefined> {
  if (isObjectPath(folder)) return undefined;
  const { configPath, checkpointsPath } = new RunFolder(folder);
  const chosen = existsSync(configPath) ? directoryIn(configPath) : '';
  if (chosen !== '') return chosen;
  return (await isStoredFolder(checkpointsPath)) ? checkpointsPath : undefined;
}

/** A config that this version does not read is of a run whose checkpoints are in its directory. */
function directoryIn(configPath: string): string {
  try {
    return loadConfig({ file: configPath, cwd: '/' }).config.checkpoint.directory;
  } catch (error) {
    if (error instanceof UserError) return '';
    throw error;
  }
}

/** Checks that a new run would not mix its checkpoints with others. @throws UserError if there are some */
export async function checkUnused(store: CheckpointStore): Promise<void> {
  const [newest] = await store.list();
  if (newest === undefined) return;
  throw new UserError(
    `${store.directory} already has checkpoints of a run, the newest of step ${newest.step}. ` +
      `Resume that run (${optionName('resume')} ${store.directory}), or choose another checkpoint.directory`,
  );
}
