/**
 * `manifest.json` of prepared data lists the shards and the tokens that train and validate. It is written last, so a folder with one is
 * complete. Its content depends on the input and the options alone: it has no time, host or absolute path.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { errorCode, UserError } from '../../base/errors.ts';
import { inFolder, isObjectPath } from '../../base/objectPath.ts';
import { ownCommand } from '../../base/ownCommand.ts';
import { damaged, parseJsonObject } from '../../base/strictJson.ts';
import { isStored, readStored } from '../../objectStore/storedFiles.ts';

export const SHARD_MANIFEST_FILE = 'manifest.json';
/** The state of an unfinished folder. */
export const PROGRESS_FILE = 'progress.json';
/** The input was refused: the contents are useless, because only other input or options can finish. */
export const FAILED_FILE = 'failed';
/** The request; written first. */
export const PLAN_FILE = 'prepare.json';
const FORMAT = 'lockstep-shards';
const FORMAT_VERSION = 1;
const MANIFEST_BYTES_MAX = 64 * 2 ** 20;

const fileName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/, 'not a plain file name');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'not a sha256 in lower-case hex');
const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);

const shard = z.strictObject({ name: fileName, tokens: count, sha256 });
/** The tokens [from, to) of the shard with this name. */
const range = z.strictObject({ shard: fileName, from: count, to: count });

const manifestSchema = z.strictObject({
  format: z.literal(FORMAT),
  version: z.literal(FORMAT_VERSION),
  tokenizer: z.strictObject({
    kind: z.string().max(256),
    vocabSize: count.min(1).max(2 ** 32 - 1),
    sha256,
    /** Follows every document; null if the tokenizer has no such token. */
    endOfText: count.nullable(),
    files: z.array(fileName).min(1).max(100),
  }),
  tokenBytes: z.union([z.literal(2), z.literal(4)]),
  /** Number of documents in all shards, and their size in UTF-8 bytes. */
  documents: count,
  textBytes: count,
  /** Number of skipped documents (`--skip-bad`). */
  skipped: count,
  shards: z.array(shard).min(1).max(1_000_000),
  splits: z.strictObject({ train: z.array(range), val: z.array(range) }),
});

export type ShardManifest = z.infer<typeof manifestSchema>;
export type ShardEntry = z.infer<typeof shard>;
export type ShardRange = z.infer<typeof range>;

/** What differs between manifests of one version. */
export type ManifestContent = Omit<ShardManifest, 'format' | 'version'>;

export function encodeShardManifest(manifest: ManifestContent): string {
  const value: ShardManifest = { format: FORMAT, version: FORMAT_VERSION, ...manifest };
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

/** A suggested folder for the tokens of a file, for messages: beside it, with a name derived from it. */
export function preparedName(file: string): string {
  return `${file.replace(/(\.[a-z]+)?(\.(gz|gzip|zst|zstd))?$/i, '')}-tokens`;
}

/**
 * The manifest of the prepared data in `folder`.
 * @param setting the name, in messages, of the setting that names the folder
 * @throws UserError if it is missing, damaged or inconsistent
 */
export async function readShardManifest(folder: string, setting: string): Promise<ShardManifest> {
  const path = inFolder(folder, SHARD_MANIFEST_FILE);
  if (!(await isStored(path))) {
    // A tokenizer may be trained before the first token is written.
    const isHalf = (await isStored(inFolder(folder, PROGRESS_FILE))) || (await isStored(inFolder(folder, PLAN_FILE)));
    if (await isStored(inFolder(folder, FAILED_FILE))) {
      throw new UserError(
        `${setting}: nothing was made in ${folder}, since its input was refused: correct the input or the options, and run ${ownCommand('prepare')} again`,
      );
    }
    if (isObjectPath(folder) && !isHalf) {
      throw new UserError(
        `${setting}: ${folder} has no ${SHARD_MANIFEST_FILE}: make it with \`${ownCommand('prepare', 'SOURCE', '--tokenizer', 'gpt2', '--out', folder)}\`, or copy all files of a prepared folder to it, the manifest last`,
      );
    }
    throw new UserError(
      isHalf
        ? `${setting}: ${folder} is not finished: run the same \`prepare\` command again to resume`
        : (await isStored(folder))
          ? `${setting}: ${folder} is a file, not a folder of prepared data: make one with \`${ownCommand('prepare', folder, '--tokenizer', 'gpt2', '--out', preparedName(folder))}\``
          : `${setting}: ${folder} is not a prepared-data folder (${SHARD_MANIFEST_FILE} not found): make one with \`${ownCommand('prepare', 'SOURCE', '--tokenizer', 'gpt2', '--out', folder)}\``,
    );
  }
  const value = parseJsonObject(await readStored(path, MANIFEST_BYTES_MAX), path);
  if (value['format'] !== FORMAT) {
    throw new UserError(
      `${path} is not of prepared data: its format is ${JSON.stringify(value['format'])}, not "${FORMAT}"`,
    );
  }
  if (value['version'] !== FORMAT_VERSION) {
    throw new UserError(
      `${path} has format version ${JSON.stringify(value['version'])}; this Lockstep reads version ${FORMAT_VERSION}`,
    );
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw damaged(path, `${issue?.path.join('.') || 'content'}: ${issue?.message}`);
  }
  checkRanges(parsed.data, path);
  return parsed.data;
}

/** Whether `path` is a folder of prepared data, finished or not. */
export async function isPreparedFolder(path: string): Promise<boolean> {
  if (await isStored(inFolder(path, PROGRESS_FILE))) return true;
  const manifest = inFolder(path, SHARD_MANIFEST_FILE);
  try {
    return parseJsonObject(await readStored(manifest, MANIFEST_BYTES_MAX), manifest)['format'] === FORMAT;
  } catch (error) {
    // Not prepared data. A reader of its real format reports what is wrong.
    if (error instanceof UserError || errorCode(error) !== '') return false;
    throw error;
  }
}

function checkRanges({ shards, splits }: ShardManifest, path: string): void {
  const tokensOf = new Map(shards.map(({ name, tokens }) => [name, tokens]));
  if (tokensOf.size !== shards.length) throw damaged(path, 'it lists a shard twice');
  for (const [split, ranges] of Object.entries(splits)) {
    for (const { shard, from, to } of ranges) {
      const tokens = tokensOf.get(shard);
      if (tokens === undefined) throw damaged(path, `${split} names ${shard}, which is not among the shards`);
      if (from > to || to > tokens) {
        throw damaged(path, `${split} has the tokens ${from} to ${to} of ${shard}, which has ${tokens}`);
      }
    }
  }
}

/** Identifies the tokens of all splits: prepared data with any difference has another hash. Lower-case hex. */
export function tokensSha256({ tokenizer, shards, splits }: ShardManifest): string {
  return createHash('sha256')
    .update(JSON.stringify([tokenizer.sha256, shards, splits]))
    .digest('hex');
}
