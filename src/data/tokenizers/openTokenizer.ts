/** Creates a new tokenizer of the config's kind, or opens the one in a checkpoint's files. */
import { UserError } from '../../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../../base/optionNames.ts';
import { expectedTokenizer, parseTokenizerKind, type TokenizerKind } from '../../base/tokenizerKind.ts';
import type { TextSource } from '../textSource.ts';
import { readByteLevel } from './byteLevelReader.ts';
import type { ByteLevelTables } from './byteLevelTables.ts';
import { ByteLevelTokenizer } from './byteLevelTokenizer.ts';
import { CharTokenizer } from './charTokenizer.ts';
import { chatTemplateIn, withChatTemplate } from './chatTemplate.ts';
import { LibraryTokenizer } from './libraryTokenizer.ts';
import { loadPublishedTokenizer, publishedHashes } from './publishedTokenizers.ts';
import type { Tokenizer } from './tokenizer.ts';
import {
  beginTokenIds,
  endTokenIds,
  GENERATION_CONFIG_FILE,
  parseTokenizerConfig,
  parseTokenizerJson,
} from './tokenizerFiles.ts';
import { readTokenizerFiles } from './tokenizerFolder.ts';
import { definitionHash } from './tokenizerHash.ts';
import { byteTokenizer, type TrainingProgress, trainTokenizer } from './trainTokenizer.ts';

/** Further inputs for making a tokenizer. */
export interface CreateTokenizerOptions {
  /** The folder that the path of a tokenizer.json starts from. Default: the working folder. */
  readonly cwd?: string;
  /** Whether `char` has `<|endoftext|>` after its characters, to end an answer or a row. The others have it anyway. Default: no. */
  readonly endOfText?: boolean;
  /** Called periodically with the progress of training a `bpe:N`. */
  readonly onProgress?: (progress: TrainingProgress) => void;
}

const createNames = { cwd: true, endOfText: true, onProgress: true } satisfies OptionNames<CreateTokenizerOptions>;

/**
 * A new tokenizer. `char` takes its characters from `corpus`, and `bpe:N` trains on it; the others do not read it. Throws a
 * UserError for a name or file that does not describe a tokenizer, and for an unknown option.
 */
export async function createTokenizer(
  kind: TokenizerKind,
  corpus: TextSource,
  options: CreateTokenizerOptions = {},
): Promise<Tokenizer> {
  checkOptionNames('createTokenizer', options, createNames);
  const { cwd = process.cwd(), endOfText = false, onProgress } = options;
  const spec = parseTokenizerKind(kind);
  if (spec === undefined) throw new UserError(`data.tokenizer: expected ${expectedTokenizer}, received ${kind}.`);
  switch (spec.type) {
    case 'char':
      return CharTokenizer.fromText(corpus, endOfText);
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
 * The tokenizer that wrote `files` (of a checkpoint, or of another program). Throws a UserError if they are damaged or describe an
 * unsupported tokenizer; `where` names their folder in the message. `kind` is the tokenizer's name; the default comes from the
 * files.
 */
export async function tokenizerFromFiles(
  files: Readonly<Record<string, string>>,
  where = 'checkpoint',
  kind?: TokenizerKind,
): Promise<Tokenizer> {
  const json = parseTokenizerJson(files['tokenizer.json'], where);
  if (CharTokenizer.describes(json)) {
    const template = chatTemplateIn(files, where);
    const tokenizer = CharTokenizer.fromJson(json, where);
    return template === undefined ? tokenizer : withChatTemplate(tokenizer, template);
  }
  const config = parseTokenizerConfig(files['tokenizer_config.json'], where);
  const added = {
    beginTokens: beginTokenIds(json, where),
    endTokens: endTokenIds(files[GENERATION_CONFIG_FILE], where),
  };
  const tables = readByteLevel(json, config, where);
  if (tables !== undefined) {
    return new ByteLevelTokenizer(kind ?? byteLevelKind(tables, files), { ...tables, ...added }, files);
  }
  return LibraryTokenizer.open({ kind: kind ?? `${where}/tokenizer.json`, json, config, ...added, files, where });
}

/** The name that a config would use; a tokenizer from another program gets the name of the Lockstep tokenizer with the same splitting. */
function byteLevelKind(tables: ByteLevelTables, files: Readonly<Record<string, string>>): TokenizerKind {
  const { tokens, merges, specialTokens, endOfText } = tables;
  const hash = definitionHash(files['tokenizer.json'] ?? '', endOfText);
  const published = publishedHashes.get(hash);
  if (published !== undefined) return published;
  return merges.length === 0 ? 'byte' : `bpe:${tokens.length + specialTokens.size}`;
}
