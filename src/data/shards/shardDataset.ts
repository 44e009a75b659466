/** Prepared data as a run's dataset: one folder, or a mixture of several made with the same tokenizer. */
import { createHash } from 'node:crypto';
import { UserError } from '../../base/errors.ts';
import { grouped } from '../../base/numberText.ts';
import { inFolder } from '../../base/objectPath.ts';
import { ownCommand } from '../../base/ownCommand.ts';
import { parseTokenizerKind, type TokenizerKind } from '../../base/tokenizerKind.ts';
import { storedPath } from '../../base/userPath.ts';
import { readStored } from '../../objectStore/storedFiles.ts';
import { cacheGiBOf, type DataOptions, type Dataset, type DatasetOptions } from '../dataset.ts';
import { embeddingRows } from '../embeddingRows.ts';
import type { CorpusShare } from '../sampleOrder.ts';
import { createTokenizer, tokenizerFromFiles } from '../tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { tokenizerHash } from '../tokenizers/tokenizerHash.ts';
import { findValidation, type Validation, withValidation } from '../validation.ts';
import { openPreparedFolder, type PreparedFolder } from './preparedFolder.ts';
import { readShardManifest, type ShardManifest, tokensSha256 } from './shardManifest.ts';
import { ShardSequence } from './shardSequence.ts';

const TOKENIZER_FILE_BYTES_MAX = 64 * 2 ** 20;

type ShardDataOptions = DataOptions & Required<Pick<DataOptions, 'shards'>>;

/**
 * Opens the folders; their files stay open until the process ends.
 * @throws UserError for a folder that is unfinished, damaged, too short, or made with another tokenizer
 */
export async function openShardDataset(data: ShardDataOptions, options: DatasetOptions): Promise<Dataset> {
  const setting = options.setting ?? 'data.shards';
  const names = typeof data.shards === 'string' ? [data.shards] : data.shards;
  const folders: PreparedFolder[] = [];
  for (const name of names)
    folders.push(
      await openPreparedFolder(name, {
        ...{ cwd: options.cwd, setting, cacheGiB: cacheGiBOf(data) },
        note: options.onNotice,
      }),
    );
  const [first] = folders as [PreparedFolder];
  const tokenizer = await tokenizerOf(storedPath(options.cwd, first.name), first.manifest);
  await checkTokenizers({ folders, tokenizer, data, options, setting });
  const validation = await findValidation(data, options);
  refuseTextOptions(data, validation);
  const own = await validation?.open(tokenizer);
  const { blockSize, validates = true } = options;
  if (blockSize !== undefined) {
    const needsSplit = validates && own === undefined;
    for (const folder of folders) checkLengths(folder, { blockSize, needsSplit, setting });
    if (validates && own !== undefined && own.tokens.length < 2) {
      throw new UserError(`data.validation: ${validation?.name} has fewer than 2 tokens, which validation needs`);
    }
  }

  const train = ShardSequence.concat(folders.map((folder) => folder.train));
  // Its first tokens are shown, and read while this process waits.
  if (train.prefetch !== undefined && train.length > 0) await train.read(0, 1);
  const val = own?.tokens ?? ShardSequence.concat(folders.map((folder) => folder.val));
  const corpora = folders.map((folder, i): CorpusShare => {
    return { tokens: folder.train.length, weight: data.weights?.[i] ?? folder.train.length };
  });
  return {
    tokenizer,
    vocabSize: embeddingRows(tokenizer, options.vocabSize),
    train,
    val,
    corpora,
    description:
      `${names.join(', ')}: ${tokenizer.kind} tokenizer with ${grouped(tokenizer.vocabSize)} tokens, ` +
      `${grouped(train.length)} tokens to train on, ${grouped(val.length)} to validate${validation ? ` (${validation.name})` : ''}`,
    sha256: own ? withValidation(sha256Of(folders, corpora), own.sha256) : sha256Of(folders, corpora),
    tokenizerSha256: tokenizerHash(tokenizer),
  };
}

/** The tokenizer from the files beside the shards. @throws UserError if the shards were not made with these files */
export async function tokenizerOf(folder: string, { tokenizer: made }: ShardManifest): Promise<Tokenizer> {
  const contents: Record<string, string> = {};
  for (const name of made.files) {
    contents[name] = (await readStored(inFolder(folder, name), TOKENIZER_FILE_BYTES_MAX)).toString();
  }
  const tokenizer = await tokenizerFromFiles(contents, folder, made.kind as TokenizerKind);
  if (tokenizerHash(tokenizer) === made.sha256) return tokenizer;
  throw new UserError(
    `${inFolder(folder, 'tokenizer.json')} is not the tokenizer that the shards beside it were made with: restore the file, or prepare the folder again`,
  );
}

/** The kind of tokenizer that a folder of prepared data was made with. @throws UserError for other folders */
export async function tokenizerKindOf(folder: string, cwd: string): Promise<TokenizerKind> {
  const manifest = await readShardManifest(storedPath(cwd, folder), 'data.shards');
  return manifest.tokenizer.kind as TokenizerKind;
}

interface Tokenizers {
  readonly folders: readonly PreparedFolder[];
  readonly tokenizer: Tokenizer;
  readonly data: ShardDataOptions;
  readonly options: DatasetOptions;
  readonly setting: string;
}

/** Token ids of one tokenizer have no meaning for another. */
async function checkTokenizers({ folders, tokenizer, data, options, setting }: Tokenizers): Promise<void> {
  const [first] = folders as [PreparedFolder];
  for (const { name, manifest } of folders) {
    if (manifest.tokenizer.sha256 === first.manifest.tokenizer.sha256) continue;
    throw new UserError(
      `${setting}: ${name} was made with the ${manifest.tokenizer.kind} tokenizer, ${first.name} with another (${first.manifest.tokenizer.kind}): prepare both with the same --tokenizer`,
    );
  }
  const wanted = options.tokenizer;
  if (wanted !== undefined && tokenizerHash(wanted) !== first.manifest.tokenizer.sha256) {
    throw new UserError(
      `${setting}: ${first.name} was made with another tokenizer (${tokenizer.kind}, ${grouped(tokenizer.vocabSize)} tokens) than the model's (${wanted.kind}, ${grouped(wanted.vocabSize)} tokens): give text, or data that was prepared with the model's`,
    );
  }
  // A model's tokenizer may have another name than the one the data was prepared with.
  if (wanted !== undefined) return;
  if (tokenizer.kind !== data.tokenizer && !(await isInFile(data.tokenizer, tokenizer, options.cwd))) {
    throw new UserError(
      `${setting}: ${first.name} was made with the ${tokenizer.kind} tokenizer, but data.tokenizer is ${data.tokenizer}: set data.tokenizer=${tokenizer.kind}, or prepare the data with --tokenizer ${data.tokenizer}`,
    );
  }
}

/** Whether a setting that names a tokenizer file means this tokenizer, which may have had another name when the data was prepared. */
async function isInFile(kind: TokenizerKind, tokenizer: Tokenizer, cwd: string): Promise<boolean> {
  if (parseTokenizerKind(kind)?.type !== 'file') return false;
  return tokenizerHash(await createTokenizer(kind, '', { cwd })) === tokenizerHash(tokenizer);
}

/** Refuses keys about reading text if no text is read. */
function refuseTextOptions({ field = 'text', format = 'auto' }: DataOptions, validation: Validation | undefined): void {
  if (validation?.text !== undefined) return;
  const given = field !== 'text' ? `data.field=${field}` : format !== 'auto' ? `data.format=${format}` : undefined;
  if (given === undefined) return;
  throw new UserError(
    `${given}: data.shards are tokens already, read with the options that \`${ownCommand('prepare')}\` had. Leave it out.`,
  );
}

interface Needs {
  readonly blockSize: number;
  /** Whether the folder's own validation split is used. */
  readonly needsSplit: boolean;
  readonly setting: string;
}

function checkLengths({ name, train, val }: PreparedFolder, { blockSize, needsSplit, setting }: Needs): void {
  if (train.length < blockSize + 1) {
    throw new UserError(
      `${setting}: ${name} is too short: it has ${grouped(train.length)} tokens to train on, but model.blockSize: ${blockSize} needs at least ${grouped(blockSize + 1)}`,
    );
  }
  if (needsSplit && val.length < 2) {
    throw new UserError(
      `${setting}: ${name} has ${grouped(val.length)} tokens to validate, but validation needs at least 2: name other data with data.validation, set eval.everySteps=0, or prepare it with a larger --val-fraction or --val-documents`,
    );
  }
}

/** Hash of everything that determines a sample's tokens. */
function sha256Of(folders: readonly PreparedFolder[], corpora: readonly CorpusShare[]): string {
  const parts = folders.map(({ manifest }, i) => [tokensSha256(manifest), corpora[i]]);
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}
