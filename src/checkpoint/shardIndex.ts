/**
 * `model.safetensors.index.json` says which of several weight files has which tensor. transformers writes it for models above its
 * `max_shard_size`.
 */
import { z } from 'zod';
import { inFolder } from '../base/objectPath.ts';
import { damaged, parseJsonObject } from '../base/strictJson.ts';
import { readStored } from '../objectStore/storedFiles.ts';

export const SHARD_INDEX_FILE = 'model.safetensors.index.json';
const INDEX_BYTES_MAX = 16 * 2 ** 20;
const SHARDS_MAX = 1000;

/** A plain file name, which cannot point outside the folder. */
const shardName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\.safetensors$/, 'not the plain name of a safetensors file');
const indexSchema = z.object({ weight_map: z.record(z.string().max(1000), shardName) });

/**
 * Maps each tensor to its file in the folder.
 * @throws UserError when the index is damaged or names a file elsewhere
 */
export async function readShardIndex(folder: string): Promise<ReadonlyMap<string, string>> {
  const path = inFolder(folder, SHARD_INDEX_FILE);
  const result = indexSchema.safeParse(parseJsonObject(await readStored(path, INDEX_BYTES_MAX), path));
  if (!result.success) {
    const issue = result.error.issues[0];
    throw damaged(path, `${issue?.path.join('.')}: ${issue?.message}`);
  }
  const index = new Map(Object.entries(result.data.weight_map));
  const shards = new Set(index.values()).size;
  if (shards === 0 || shards > SHARDS_MAX) throw damaged(path, `it names ${shards} files: expected 1 to ${SHARDS_MAX}`);
  return index;
}
