/** Separate validation data (`data.validation`): a text, or folders made by `launch prepare`. All of it validates. */
import { createHash } from 'node:crypto';
import { UserError } from '../base/errors.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { storedPath } from '../base/userPath.ts';
import { readCorpus } from './corpus.ts';
import { cacheGiBOf, type DataOptions, type DatasetOptions } from './dataset.ts';
import { encodeDocument, hashTokens } from './encodeText.ts';
import { openPreparedFolder } from './shards/preparedFolder.ts';
import { isPreparedFolder, tokensSha256 } from './shards/shardManifest.ts';
import { ShardSequence } from './shards/shardSequence.ts';
import type { TokenSequence } from './tokenArray.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';
import { tokenizerHash } from './tokenizers/tokenizerHash.ts';

const setting = 'data.validation';

export interface Validation {
  /** A description for display. */
  readonly name: string;
  /** Undefined for prepared data. */
  readonly text: string | undefined;
  /** Number of line ends converted from CRLF to LF. */
  readonly normalised: number;
  /** The tokens and a hash that identifies them. @throws UserError if the tokenizer does not fit */
  open(tokenizer: Tokenizer): Promise<{ tokens: TokenSequence; sha256: string }>;
}

/** @returns undefined if the config names none @throws UserError for missing or unreadable data */
export async function findValidation(data: DataOptions, options: DatasetOptions): Promise<Validation | undefined> {
  const names = [data.validation ?? []].flat();
  if (names.length === 0) return undefined;
  const { cwd, onNotice } = options;
  const arePrepared = await Promise.all(names.map((name) => isPreparedFolder(storedPath(cwd, name))));
  if (arePrepared.every(Boolean)) return prepared(names, { cwd, cacheGiB: cacheGiBOf(data) });
  const [folder, text] = [true, false].map((isFolder) => names[arePrepared.indexOf(isFolder)]);
  if (folder !== undefined) {
    // The files hold tokens, which make no sense as text.
    throw new UserError(
      `${setting}: expected texts alone, or folders alone that \`${ownCommand('prepare')}\` made, received the text ${text} and the folder ${folder}. Prepare all of them with the same --tokenizer, or none.`,
    );
  }
  const corpus = await readCorpus({ ...textOptions(data), text: names, cwd, setting, onNotice });
  return {
    name: corpus.name,
    text: corpus.text,
    normalised: corpus.normalised,
    open: async (tokenizer) => {
      const tokens = await encodeDocument(tokenizer, corpus.text, () => undefined);
      return { tokens, sha256: hashTokens([tokens]) };
    },
  };
}

/** A dataset's hash, from its training and validation data. Lower-case hex. */
export function withValidation(train: string, validation: string): string {
  return createHash('sha256').update(`${train} ${validation}`).digest('hex');
}

/** The config's rules for reading text from files. */
export function textOptions({ field, format, lineEndings }: DataOptions) {
  return { field, format: format === 'auto' ? undefined : format, lineEndings };
}

async function prepared(
  names: readonly string[],
  { cwd, cacheGiB }: { cwd: string; cacheGiB: number },
): Promise<Validation> {
  const folders = await Promise.all(names.map((name) => openPreparedFolder(name, { cwd, setting, cacheGiB })));
  return {
    name: names.join(', '),
    text: undefined,
    normalised: 0,
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
