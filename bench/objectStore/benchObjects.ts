/** Objects that a bench writes and removes. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { inFolder } from '../../src/base/objectPath.ts';
import { SHARD_MANIFEST_FILE } from '../../src/data/shards/shardManifest.ts';
import { openBucket } from '../../src/objectStore/buckets.ts';
import { deleteObject, listObjects } from '../../src/objectStore/objects.ts';
import { uploadStored } from '../../src/objectStore/storedFiles.ts';

/** Copies prepared data to a store, its manifest last. */
export async function uploadPrepared(folder: string, prefix: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name !== SHARD_MANIFEST_FILE);
  for (const name of [...names, SHARD_MANIFEST_FILE]) await uploadStored(join(folder, name), inFolder(prefix, name));
}

/** All objects below a path. */
export async function removeObjects(path: string): Promise<void> {
  const { client, key } = openBucket(path);
  for await (const object of listObjects(client, `${key}/`)) await deleteObject(client, object.key);
}
