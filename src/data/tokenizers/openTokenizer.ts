/** The ways to get a tokenizer: a new one of the kind that the config names, or the one that a checkpoint's files describe. */
import { UserError } from '../../base/errors.ts';
import { expectedTokenizer, parseTokenizerKind, type TokenizerKind } from '../../base/tokenizerKind.ts';
import type { TextSource } from '../textSource.ts';
import { readByteLevel } from './byteLevelReader.ts';
import type { ByteLevelTables } from './byteLevelTables.ts';
import { ByteLevelTokenizer } from './byteLevelTokenizer.ts';
import { CharTokenizer } from './charTokenizer.ts';
import { LibraryTokenizer } from './libraryTokenizer.ts';
import { loadPublishedTokenizer, publishedHashes } from './publishedTokenizers.ts';
import type { Tokenizer } from './tokenizer.ts';
import { parseTokenizerConfig, parseTokenizerJson } from './tokenizerFiles.ts';
import { readTokenizerFiles } from './tokenizerFolder.ts';
import { definitionHash } from './tokenizerHash.ts';
import { byteTokenizer, type TrainingProgress, trainTokenizer } from './trainTokenizer.ts';

/** What else making a tokenizer may need. */
export interface CreateTokenizerOptions {
  /** Where the path of a tokenizer.json starts. Default: the working folder. */
  readonly cwd?: string;
  /** Told now and then how far the training of a `bpe:N` is. */
  readonly onProgress?: (progress: TrainingProgress) => void;
}

/**
 * A new tokenizer. `char` takes its characters from `corpus`, and `bpe:N` is trained on it; the others do not look at it. Throws a
 * UserError for a name or a file that is none of a tokenizer.
 */
export async function createTokenizer(
  kind: TokenizerKind,
  corpus: TextSource,
  { cwd = process.cwd(), onProgress }: CreateTokenizerOptions = {},
): Promise<Tokenizer> {
  const spec = parseTokenizerKind(kind);
  if (spec === undefined) throw new UserError(`data.tokenizer: expected ${expectedTokenizer}, got ${kind}.`);
  switch (spec.type) {
    case 'char':
      return CharTokenizer.fromText(corpus);
    case 'byte':
      return byteTokenizer();
    case 'bpe':
      return trainTokenizer(corpus, spec.vocabSize, onProgress);
    case 'file': {
      const { files, folder } = await readTokenizerFiles(spec.path, cwd);
      return tokenizerFromFiles(files, folder, kind);
    }
    case 'gpt2':
    case 'cl100k':
    case 'o200k':
      return loadPublishedTokenizer(spec.type);
    default:
      return spec satisfies never;
  }
}

/**
 * The tokenizer that wrote `files` (of a checkpoint, or of another program). Throws a UserError if they are damaged or describe a
 * tokenizer that this version does not have; `where` names their folder in the message. `kind` is what it will be called; without
 * it what the files say.
 */
export async function tokenizerFromFiles(
  files: Readonly<Record<string, string>>,
  where = 'checkpoint',
  kind?: TokenizerKind,
): Promise<Tokenizer> {
  const json = parseTokenizerJson(files['tokenizer.json'], where);
  if (CharTokenizer.describes(json)) return CharTokenizer.fromJson(json, where);
  const config = parseTokenizerConfig(files['tokenizer_config.json'], where);
  const tables = readByteLevel(json, config, where);
  if (tables !== undefined) return new ByteLevelTokenizer(kind ?? byteLevelKind(tables, files), tables, files);
  return LibraryTokenizer.open({ kind: kind ?? `${where}/tokenizer.json`, json, config, files, where });
}

/** What the config would have called it; another program's is called as one of ours that splits like it. */
function byteLevelKind(tables: ByteLevelTables, files: Readonly<Record<string, string>>): TokenizerKind {
  const { tokens, merges, specialTokens, endOfText } = tables;
  const hash = definitionHash(files['tokenizer.json'] ?? '', endOfText);
  const published = publishedHashes.get(hash);
  if (published !== undefined) return published;
  return merges.length === 0 ? 'byte' : `bpe:${tokens.length + specialTokens.size}`;
}
