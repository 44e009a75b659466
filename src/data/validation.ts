/** Data of its own to validate with (`data.validation`): a text, or folders that `launch prepare` made. All of it validates. */
import { createHash } from 'node:crypto';
import { UserError } from '../base/errors.ts';
import { userPath } from '../base/userPath.ts';
import { readCorpus } from './corpus.ts';
import type { DataOptions, DatasetOptions } from './dataset.ts';
import { encodeInSlices, hashTokens } from './encodeText.ts';
import { openPreparedFolder } from './shards/preparedFolder.ts';
import { isPreparedFolder, tokensSha256 } from './shards/shardManifest.ts';
import { ShardSequence } from './shards/shardSequence.ts';
import type { TokenSequence } from './tokenArray.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';
import { tokenizerHash } from './tokenizers/tokenizerHash.ts';

const setting = 'data.validation';

export interface Validation {
  /** What it is, for people. */
  readonly name: string;
  /** Undefined for prepared data. */
  readonly text: string | undefined;
  /** The tokens, and a hash that tells them from others. @throws UserError where the tokenizer does not fit */
  open(tokenizer: Tokenizer): Promise<{ tokens: TokenSequence; sha256: string }>;
}

/** @returns undefined where the config names none @throws UserError for what is missing or unreadable */
export async function findValidation(data: DataOptions, options: DatasetOptions): Promise<Validation | undefined> {
  const names = [data.validation ?? []].flat();
  if (names.length === 0) return undefined;
  const { cwd, onNotice } = options;
  const arePrepared = await Promise.all(names.map((name) => isPreparedFolder(userPath(cwd, name))));
  if (arePrepared.every(Boolean)) return prepared(names, cwd);
  const corpus = await readCorpus({ ...textOptions(data), text: names, cwd, setting, onNotice });
  return {
    name: corpus.name,
    text: corpus.text,
    open: async (tokenizer) => {
      const tokens = await encodeInSlices(tokenizer, corpus.text, () => undefined);
      return { tokens, sha256: hashTokens([tokens]) };
    },
  };
}

/** A dataset's hash, of what trains and of what validates. Lower-case hex. */
export function withValidation(train: string, validation: string): string {
  return createHash('sha256').update(`${train} ${validation}`).digest('hex');
}

/** How files become text, as the config says it. */
export function textOptions({ field, format, lineEndings }: DataOptions) {
  return { field, format: format === 'auto' ? undefined : format, lineEndings };
}

async function prepared(names: readonly string[], cwd: string): Promise<Validation> {
  const folders = await Promise.all(names.map((name) => openPreparedFolder(name, cwd, setting)));
  return {
    name: names.join(', '),
    text: undefined,
    open: async (tokenizer) => {
      const wanted = tokenizerHash(tokenizer);
      const other = folders.find(({ manifest }) => manifest.tokenizer.sha256 !== wanted);
      if (other !== undefined) {
        throw new UserError(
          `${setting}: ${other.name} was made with the ${other.manifest.tokenizer.kind} tokenizer, which is not that of the training data (${tokenizer.kind}): prepare it with the same --tokenizer`,
        );
      }
      const sha256 = createHash('sha256').update(folders.map(({ manifest }) => tokensSha256(manifest)).join());
      return {
        tokens: ShardSequence.concat(folders.flatMap(({ train, val }) => [train, val])),
        sha256: sha256.digest('hex'),
      };
    },
  };
}
