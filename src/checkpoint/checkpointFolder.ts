/** What a folder of weights looks like. */
import { inFolder } from '../base/objectPath.ts';
import { isStored } from '../objectStore/storedFiles.ts';
import { CONFIG_FILE, MANIFEST_FILE, MODEL_FILE, TRAINER_FILE } from './manifest.ts';
import { ADAPTER_CONFIG_FILE } from './peftAdapter.ts';

/** Whether `path` looks like a checkpoint folder of either kind, damaged or not. */
export async function isCheckpointFolder(path: string): Promise<boolean> {
  for (const name of [MANIFEST_FILE, TRAINER_FILE, CONFIG_FILE, MODEL_FILE, ADAPTER_CONFIG_FILE]) {
    if (await isStored(inFolder(path, name))) return true;
  }
  return false;
}
