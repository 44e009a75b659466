/** Reads all prepared data: compares it with its manifest, and counts the tokens and the lengths of the documents. */
import { createHash } from 'node:crypto';
import { inFolder } from '../../base/objectPath.ts';
import { damaged } from '../../base/strictJson.ts';
import type { ShardManifest } from './shardManifest.ts';
import { ShardFiles } from './shardSequence.ts';

/** Some megabytes: in an object store each slice is a request. */
const SLICE_TOKENS = 2 ** 21;

export interface Survey {
  /** Number of occurrences of each token, by id. */
  readonly tokenCounts: Float64Array;
  /** At index i, the number of documents with 2^i to 2^(i+1) - 1 tokens; empty if the tokenizer does not mark their ends. */
  readonly lengthCounts: readonly number[];
}

/** @throws UserError for shards that differ from the manifest */
export async function survey(
  folder: string,
  manifest: ShardManifest,
  onProgress: (done: number) => void,
): Promise<Survey> {
  const { vocabSize, endOfText } = manifest.tokenizer;
  const tokenCounts = new Float64Array(vocabSize);
  const lengthCounts: number[] = [];
  const total = manifest.shards.reduce((sum, { tokens }) => sum + tokens, 0);
  const files = await ShardFiles.openOnce(folder, manifest);
  let done = 0;
  let length = 0;
  try {
    for (const { name, tokens, sha256 } of manifest.shards) {
      const path = inFolder(folder, name);
      const hash = createHash('sha256');
      const shard = files.split([{ shard: name, from: 0, to: tokens }]);
      for (let from = 0; from < tokens; from += SLICE_TOKENS) {
        const slice = await shard.read(from, Math.min(tokens, from + SLICE_TOKENS));
        hash.update(new Uint8Array(slice.buffer, slice.byteOffset, slice.byteLength));
        for (const token of slice) {
          if (token >= vocabSize) throw damaged(path, `it has the token ${token}, but the vocabulary has ${vocabSize}`);
          tokenCounts[token]!++;
          length++;
          if (token !== endOfText) continue;
          const at = Math.floor(Math.log2(length));
          while (lengthCounts.length <= at) lengthCounts.push(0);
          lengthCounts[at]!++;
          length = 0;
        }
        done += slice.length;
        onProgress(done / total);
      }
      const found = hash.digest('hex');
      if (found !== sha256) throw damaged(path, `its tokens have sha256 ${found}, but the manifest says ${sha256}`);
    }
  } finally {
    files.close();
  }
  return { tokenCounts, lengthCounts };
}
