/** Opens a folder made by `launch prepare` for reading, on a disk or in an object store. */
import { isObjectPath } from '../../base/objectPath.ts';
import { storedPath } from '../../base/userPath.ts';
import { readShardManifest, type ShardManifest } from './shardManifest.ts';
import { ShardFiles, type ShardSequence } from './shardSequence.ts';

export interface PreparedFolder {
  /** Its name as given by the user. */
  readonly name: string;
  readonly manifest: ShardManifest;
  readonly train: ShardSequence;
  readonly val: ShardSequence;
}

export interface PreparedFolderOptions {
  readonly cwd: string;
  /** The name, in messages, of the setting that names the folder. */
  readonly setting: string;
  /** Size of the cache for a folder in an object store. */
  readonly cacheGiB: number;
  /** Told if samples cannot be verified. */
  readonly note?: ((line: string) => void) | undefined;
}

/**
 * Opens a folder; its files stay open until the process ends.
 * @throws UserError for an unfinished or damaged folder
 */
export async function openPreparedFolder(
  name: string,
  { cwd, setting, cacheGiB, note }: PreparedFolderOptions,
): Promise<PreparedFolder> {
  const path = storedPath(cwd, name);
  const manifest = await readShardManifest(path, setting);
  const files = isObjectPath(path)
    ? await ShardFiles.openObjects(path, manifest, cacheGiB, note)
    : ShardFiles.open(path, manifest);
  return { name, manifest, train: files.split(manifest.splits.train), val: files.split(manifest.splits.val) };
}
