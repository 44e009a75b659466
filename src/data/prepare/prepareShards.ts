/**
 * `launch prepare`: converts text of any size to shards of tokens, in bounded memory and on all cores. The bytes are the same for any
 * number of threads and interruptions. docs/shards.md has the format.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../base/errors.ts';
import { isObjectPath } from '../../base/objectPath.ts';
import { readBoundedFile } from '../../base/strictJson.ts';
import type { TokenizerKind } from '../../base/tokenizerKind.ts';
import type { LineEndings } from '../lineEndings.ts';
import type { ManifestContent, ShardRange } from '../shards/shardManifest.ts';
import { byteLevelFileNames } from '../tokenizers/byteLevelFiles.ts';
import { createTokenizer, tokenizerFromFiles } from '../tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../tokenizers/tokenizer.ts';
import { type KnownTokenizer, withFacts } from '../tokenizers/tokenizerFacts.ts';
import { beginning, type Cursor } from './chunks.ts';
import type { BadData, EncodeJob } from './encodeJob.ts';
import type { EncodePool, MakePool } from './encodePool.ts';
import { prepareFields } from './fields.ts';
import { InputHash } from './inputHash.ts';
import { pipeline } from './pipeline.ts';
import { type Plan, PrepareFolder, type Progress } from './prepareFolder.ts';
import { PreparePrefix } from './preparePrefix.ts';
import type { Source } from './source.ts';
import { type Split, SplitWriter } from './splitWriter.ts';

const TOKENIZER_FILE_BYTES_MAX = 64 * 2 ** 20;

export interface PrepareOptions {
  readonly sources: readonly Source[];
  /** Destination of the shards: a folder, or `s3://BUCKET/PREFIX`. */
  readonly out: string;
  /** A tokenizer made from the text needs an additional pass over the text first. */
  readonly tokenizer: Tokenizer | MadeOfText;
  /** The field of a JSON object, or the column of a table, that contains the text. */
  readonly field: string;
  readonly lineEndings: LineEndings;
  /** Skip lines and rows without text instead of failing. */
  readonly skipBad: boolean;
  readonly split: Split;
  readonly shardTokens: number;
  readonly makePool: MakePool;
  readonly listener: PrepareListener;
  /** Interval between syncs of the work done, which also happen when a shard is complete. Default one second. */
  readonly keepIntervalMs?: number;
}

/** Tokenizers whose vocabulary comes from the text. */
export type MadeOfText = 'char' | `bpe:${number}`;

export type PreparePhase = 'characters' | 'words' | 'tokens';

export interface PrepareListener {
  /** Another process may be working in the folder; finding out takes a while. */
  waiting?(message: string): void;
  /** The work of a stopped process is resumed. */
  resumed(documents: number, tokens: number): void;
  /** After every job: stored bytes of input read, including those before a resume, and tokens made by this process. */
  progress(phase: PreparePhase, bytesRead: number, tokens: number): void;
  /** A document was skipped. */
  skipped(what: string): void;
  /** Number of line ends converted from CRLF to LF since the last call. */
  normalised(lines: number): void;
}

export interface Prepared {
  readonly documents: number;
  readonly textBytes: number;
  readonly skipped: number;
  readonly trainTokens: number;
  readonly valTokens: number;
  readonly shards: number;
}

/**
 * @returns the result, or undefined if it already existed
 * @throws UserError for input that is empty or is not text, or a folder with other contents; PeerError when the disk fails
 */
export async function prepareShards(options: PrepareOptions): Promise<Prepared | undefined> {
  const { tokenizer } = options;
  if (typeof tokenizer === 'string' && options.sources.some(({ path }) => path === undefined)) {
    throw new UserError(
      `the ${tokenizer} tokenizer reads its text twice, which standard input does not allow: give a file, or another --tokenizer`,
    );
  }
  const folder = isObjectPath(options.out) ? new PreparePrefix(options.out) : new PrepareFolder(options.out);
  const known = typeof tokenizer === 'string' ? undefined : withFacts(tokenizer);
  await folder.claim((message) => options.listener.waiting?.(message));
  try {
    await folder.follow(planOf(options, known));
    if (await folder.isWhole()) return undefined;
    const progress = await folder.progress(options.sources);
    await folder.attempt();
    try {
      return await fill(folder, options, { known, progress });
    } catch (error) {
      // A user does not want to resume with unreadable input. If even this mark cannot be written, for example on a full disk, the user
      // needs to see the input's error; without the mark, another command is refused and says what to do.
      if (error instanceof UserError) await folder.fail().catch(() => undefined);
      throw error;
    }
  } finally {
    await folder.release();
  }
}

/** Everything that determines the output bytes. */
function planOf(options: PrepareOptions, known?: KnownTokenizer): Plan {
  const { sources, field, skipBad, lineEndings, split, shardTokens } = options;
  return {
    sources: sources.map(({ name, format, compression, size }) => ({ name, format, compression, bytes: size })),
    tokenizer: known ? `${known.tokenizer.kind}, sha256 ${known.facts.sha256}` : String(options.tokenizer),
    field,
    skipBad,
    lineEndings,
    split,
    shardTokens,
  };
}

async function fill(
  folder: PrepareFolder,
  options: PrepareOptions,
  { known, progress }: { known: KnownTokenizer | undefined; progress: Progress | undefined },
): Promise<Prepared> {
  const { sources, listener, split, shardTokens } = options;
  const { tokenizer, facts } = await openTokenizer(folder, options, { known, isResumed: progress !== undefined });
  const { vocabSize } = tokenizer;
  const writer = await SplitWriter.open(
    { folder: folder.path, vocabSize, tokenizerSha256: facts.sha256, split, shardTokens },
    progress,
  );
  if (progress) listener.resumed(writer.counts.documents, writer.tokens);
  try {
    await encodeAll(folder, options, { known: { tokenizer, facts }, writer, from: progress?.cursor ?? beginning });
    const { documents, textBytes, skipped } = writer.counts;
    if (documents === 0) {
      const areTables = sources.every(({ format }) => format === 'csv' || format === 'tsv' || format === 'parquet');
      const hint = areTables ? ' (a table needs a row with text below its header)' : '';
      const more = skipped > 0 ? ` (${skipped} documents were left out)` : hint;
      throw new UserError(`${sources.map(({ name }) => name).join(', ')}: there is no text in it${more}`);
    }
    const { shards, splits } = await folder.writing(() => writer.finish());
    const manifest: ManifestContent = {
      tokenizer: {
        kind: tokenizer.kind,
        vocabSize,
        sha256: facts.sha256,
        endOfText: facts.endOfText ?? null,
        files: Object.keys(facts.files).sort(),
      },
      tokenBytes: writer.tokenBytes,
      documents,
      textBytes,
      skipped,
      shards,
      splits,
    };
    await folder.writing(() => folder.complete(manifest));
    return {
      documents,
      textBytes,
      skipped,
      shards: shards.length,
      trainTokens: tokensIn(splits.train),
      valTokens: tokensIn(splits.val),
    };
  } finally {
    await writer.close();
  }
}

function tokensIn(ranges: readonly ShardRange[]): number {
  return ranges.reduce((sum, { from, to }) => sum + to - from, 0);
}

interface Encoding {
  readonly known: KnownTokenizer;
  readonly writer: SplitWriter;
  readonly from: Cursor;
}

async function encodeAll(folder: PrepareFolder, options: PrepareOptions, { known, writer, from }: Encoding) {
  const { sources, field, skipBad, lineEndings, makePool, listener, keepIntervalMs = 1_000 } = options;
  const mtimes = sources.map(({ mtimeMs }) => mtimeMs);
  const pool = makePool(known);
  const isInput = sources.some(({ path }) => path === undefined);
  const inputHash = isInput ? new InputHash(from.inputSha256) : undefined;
  let bytesRead = sources.slice(0, from.source).reduce((sum, { size }) => sum + size, 0);
  const tokensBefore = writer.tokens;
  let keptMs = performance.now();
  let keptShards = writer.shardCount;
  try {
    const jobs = pipeline({
      sources,
      from,
      fields: prepareFields(field),
      skipBad,
      lineEndings,
      inputHash,
      jobsMax: pool.jobsMax,
      work: pool.encode,
      onRead: (bytes) => {
        bytesRead += bytes;
      },
    });
    for await (const { result, next } of jobs) {
      for (const what of result.told) listener.skipped(what);
      if (result.normalised > 0) listener.normalised(result.normalised);
      await folder.writing(() => writer.take(result));
      listener.progress('tokens', bytesRead, writer.tokens - tokensBefore);
      const isShardDone = writer.shardCount > keptShards;
      if (!isShardDone && performance.now() - keptMs < keepIntervalMs) continue;
      await folder.writing(async () => folder.keepProgress({ mtimes, cursor: next, ...(await writer.flush()) }));
      keptMs = performance.now();
      keptShards = writer.shardCount;
    }
  } finally {
    await pool.close();
  }
}

/** The tokenizer, with its files in the folder. */
async function openTokenizer(
  folder: PrepareFolder,
  options: PrepareOptions,
  { known, isResumed }: { known: KnownTokenizer | undefined; isResumed: boolean },
): Promise<KnownTokenizer> {
  if (isResumed) {
    if (known !== undefined) return known;
    // One that was learned from the text. All of its files count, since the manifest lists them.
    const files: Record<string, string> = {};
    for (const name of await readdir(folder.path)) {
      if (!byteLevelFileNames.includes(name)) continue;
      files[name] = (await readBoundedFile(join(folder.path, name), TOKENIZER_FILE_BYTES_MAX)).toString();
    }
    return withFacts(await tokenizerFromFiles(files, folder.path, kindOf(options)));
  }
  const opened = known ?? withFacts(await tokenizerOfText(options));
  for (const [name, content] of Object.entries(opened.facts.files)) {
    await folder.writing(() => folder.keep(name, content));
  }
  return opened;
}

function kindOf({ tokenizer }: PrepareOptions): TokenizerKind {
  return typeof tokenizer === 'string' ? tokenizer : tokenizer.kind;
}

/** A pass over the entire input. */
async function tokenizerOfText(options: PrepareOptions): Promise<Tokenizer> {
  const pool = options.makePool();
  try {
    if (options.tokenizer !== 'char') return await createTokenizer(kindOf(options), wordsOf(options, pool));
    const characters = new Set<string>();
    for await (const result of passOver(options, pool, 'characters', pool.characters)) {
      for (const character of result.characters) characters.add(character);
    }
    return await createTokenizer('char', [...characters].join(''));
  } finally {
    await pool.close();
  }
}

async function* wordsOf(options: PrepareOptions, pool: EncodePool): AsyncGenerator<string> {
  for await (const { texts } of passOver(options, pool, 'words', pool.texts)) yield* texts;
}

async function* passOver<T extends object>(
  { sources, field, skipBad, lineEndings, listener }: PrepareOptions,
  { jobsMax }: EncodePool,
  phase: PreparePhase,
  work: (job: EncodeJob) => Promise<T | BadData>,
): AsyncGenerator<T> {
  let bytesRead = 0;
  const jobs = pipeline({
    sources,
    from: beginning,
    fields: prepareFields(field),
    skipBad,
    lineEndings,
    jobsMax,
    work,
    onRead: (bytes) => {
      bytesRead += bytes;
    },
  });
  for await (const { result } of jobs) {
    yield result;
    listener.progress(phase, bytesRead, 0);
  }
}
