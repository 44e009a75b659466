/** Opens a folder made by `launch prepare` for reading. */
import { userPath } from '../../base/userPath.ts';
import { readShardManifest, type ShardManifest } from './shardManifest.ts';
import { ShardFiles, type ShardSequence } from './shardSequence.ts';

export interface PreparedFolder {
  /** Its name as given by the user. */
  readonly name: string;
  readonly manifest: ShardManifest;
  readonly train: ShardSequence;
  readonly val: ShardSequence;
}

/**
 * Opens a folder; its files stay open until the process ends.
 * @throws UserError for an unfinished or damaged folder
 */
export async function openPreparedFolder(name: string, cwd: string, setting: string): Promise<PreparedFolder> {
  const path = userPath(cwd, name);
  const manifest = await readShardManifest(path, setting);
  const files = ShardFiles.open(path, manifest);
  return { name, manifest, train: files.split(manifest.splits.train), val: files.split(manifest.splits.val) };
}
