/** Prepared data without a meaning: bytes of a generator, as tokens of the tokenizer `byte`. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeShardManifest, SHARD_MANIFEST_FILE } from '../../src/data/shards/shardManifest.ts';
import { ShardWriter } from '../../src/data/shards/shardWriter.ts';
import { newTokenArray } from '../../src/data/tokenArray.ts';
import { createTokenizer } from '../../src/data/tokenizers/openTokenizer.ts';
import { withFacts } from '../../src/data/tokenizers/tokenizerFacts.ts';

const sliceTokens = 2 ** 20;

export interface SyntheticShardsOptions {
  /** A new folder. */
  readonly folder: string;
  readonly tokens: number;
  readonly shardTokens: number;
}

export async function makeSyntheticShards({ folder, tokens, shardTokens }: SyntheticShardsOptions): Promise<void> {
  const { tokenizer, facts } = withFacts(await createTokenizer('byte', ''));
  const { vocabSize } = tokenizer;
  const tokenBytes = 2;
  await mkdir(folder, { recursive: true });
  for (const [name, content] of Object.entries(facts.files)) await writeFile(join(folder, name), content);
  const writer = await ShardWriter.open(
    { folder, prefix: 'tokens', shardTokens, tokenBytes, vocabSize, tokenizerSha256: facts.sha256 },
    { shards: [], openTokens: 0 },
  );
  for (let from = 0; from < tokens; from += sliceTokens) {
    const slice = newTokenArray(vocabSize, Math.min(sliceTokens, tokens - from));
    for (let i = 0; i < slice.length; i++) slice[i] = Math.imul(from + i, 0x9e3779b1) >>> 24;
    await writer.append(slice);
  }
  const shards = await writer.finish();
  const manifest = encodeShardManifest({
    tokenizer: {
      kind: 'byte',
      vocabSize,
      sha256: facts.sha256,
      endOfText: facts.endOfText ?? null,
      files: Object.keys(facts.files),
    },
    tokenBytes,
    documents: 1,
    textBytes: tokens,
    skipped: 0,
    shards,
    splits: { train: shards.map(({ name, tokens: to }) => ({ shard: name, from: 0, to })), val: [] },
  });
  await writeFile(join(folder, SHARD_MANIFEST_FILE), manifest);
}
