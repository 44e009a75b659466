/**
 * `launch prepare --out s3://…`: a folder on the disk in which the work is done, and from which complete shards move to the store. So the disk holds
 * the shard that is being written and the progress, and the same command on the same machine resumes. The store decides what is done: progress that
 * counts a shard which it lacks is dropped.
 */
import { createHash } from 'node:crypto';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { PeerError, UserError } from '../../base/errors.ts';
import { inFolder } from '../../base/objectPath.ts';
import { parseJsonObject, readBoundedFile } from '../../base/strictJson.ts';
import { isFile } from '../../base/wholeFiles.ts';
import { openBucket } from '../../objectStore/buckets.ts';
import { cacheFolder } from '../../objectStore/cacheFolder.ts';
import { storeSettings } from '../../objectStore/credentials.ts';
import { deleteObject, headObject, listObjects } from '../../objectStore/objects.ts';
import { PIECES_SUFFIX } from '../../objectStore/pieceHashes.ts';
import { isStored, isStoredFolder, readStored, uploadStored, writeObject } from '../../objectStore/storedFiles.ts';
import { SHARD_HEADER_BYTES } from '../shards/shardFormat.ts';
import {
  encodeShardManifest,
  FAILED_FILE,
  type ManifestContent,
  PLAN_FILE,
  PROGRESS_FILE,
  SHARD_MANIFEST_FILE,
} from '../shards/shardManifest.ts';
import { FILE_BYTES_MAX, isShardFile, LOCK_FILE, type Plan, PrepareFolder, type Progress } from './prepareFolder.ts';

/** What stays on the disk. */
const ownFiles = [PLAN_FILE, PROGRESS_FILE, FAILED_FILE, LOCK_FILE];

export class PreparePrefix extends PrepareFolder {
  readonly #prefix: string;
  /** Other users of this machine do not see the text. */
  protected override readonly mode = 0o700;
  #isWhole = false;
  #hasStoreFailed = false;

  /** @param prefix `s3://BUCKET/PREFIX` @throws UserError for settings of the store that are wrong */
  constructor(prefix: string) {
    const { endpoint } = storeSettings(process.env);
    const name = createHash('sha256')
      .update(JSON.stringify([endpoint, prefix]))
      .digest('hex')
      .slice(0, 16);
    super(join(cacheFolder('prepare'), name));
    this.#prefix = prefix;
  }

  override async follow(plan: Plan): Promise<void> {
    const path = inFolder(this.#prefix, PLAN_FILE);
    const text = `${JSON.stringify(plan, undefined, 2)}\n`;
    const stored = (await isStored(path)) ? parseJsonObject(await readStored(path, FILE_BYTES_MAX), path) : undefined;
    const isSame = isDeepStrictEqual(stored, JSON.parse(text));
    const isOwn = stored !== undefined && isDeepStrictEqual(stored, await this.#localPlan());
    if (stored === undefined && (await isStoredFolder(this.#prefix))) {
      throw new UserError(`${this.#prefix} has other objects: name a new prefix with --out`);
    }
    if (stored !== undefined && !isSame && !(isOwn && (await this.#isRefused()))) {
      throw new UserError(
        `${this.#prefix} was prepared from other sources or with other options (${path} says which): choose another --out, or remove its objects`,
      );
    }
    if (!isSame || !isOwn) await this.#clear([LOCK_FILE]);
    await super.follow(plan);
    await writeObject(path, text);
  }

  /** What the folder on the disk was begun for. */
  async #localPlan(): Promise<Record<string, unknown> | undefined> {
    const path = join(this.path, PLAN_FILE);
    return (await isFile(path)) ? parseJsonObject(await readBoundedFile(path, FILE_BYTES_MAX), path) : undefined;
  }

  /** Whether the input of the plan on the disk was refused: then only shards of it may be in the store, which {@link complete} removes. */
  async #isRefused(): Promise<boolean> {
    return !(await this.isWhole()) && (await isFile(join(this.path, FAILED_FILE)));
  }

  override async isWhole(): Promise<boolean> {
    this.#isWhole = await isStored(inFolder(this.#prefix, SHARD_MANIFEST_FILE));
    return this.#isWhole;
  }

  override async progress(sources: readonly { name: string; mtimeMs: number }[]): Promise<Progress | undefined> {
    const progress = await super.progress(sources);
    if (progress === undefined) return undefined;
    const sizes = await this.#storedSizes();
    for (const { name } of shardsOf(progress)) {
      if ((await isFile(join(this.path, name))) || (await this.#sizeOf(name, sizes)) !== undefined) continue;
      await this.#clear([LOCK_FILE, PLAN_FILE]);
      return undefined;
    }
    return progress;
  }

  override async keepProgress(progress: Progress): Promise<void> {
    await super.keepProgress(progress);
    await this.#storing(async () => {
      for (const { name } of shardsOf(progress)) {
        for (const each of [name, `${name}${PIECES_SUFFIX}`]) {
          if (await this.#upload(each)) await rm(join(this.path, each));
        }
      }
    });
  }

  override async complete(manifest: ManifestContent): Promise<void> {
    await this.#storing(async () => {
      // They stay until the end: a process that resumes needs them.
      for (const name of await readdir(this.path)) if (!ownFiles.includes(name)) await this.#upload(name);
      await this.#verify(manifest);
      await writeObject(inFolder(this.#prefix, SHARD_MANIFEST_FILE), encodeShardManifest(manifest));
    });
    this.#isWhole = true;
  }

  /** Compares the store with a manifest before it is written, and removes shards of attempts whose input was refused. */
  async #verify({ shards, tokenBytes }: ManifestContent): Promise<void> {
    const sizes = await this.#storedSizes();
    const listed = new Set<string>();
    for (const { name, tokens } of shards) {
      listed.add(name).add(`${name}${PIECES_SUFFIX}`);
      const expected = SHARD_HEADER_BYTES + tokens * tokenBytes;
      if (sizes.get(name) === expected) continue;
      const bytes = await this.#sizeOf(name, new Map());
      if (bytes === expected) continue;
      await this.#clear([LOCK_FILE, PLAN_FILE]);
      throw new PeerError(
        `${inFolder(this.#prefix, name)} ${bytes === undefined ? 'was removed' : `has ${bytes} bytes, not the ${expected} that were written`}: run the same command again, which starts over`,
      );
    }
    for (const name of sizes.keys()) {
      if (!isShardFile(name) || listed.has(name)) continue;
      const { client, key } = openBucket(inFolder(this.#prefix, name));
      await deleteObject(client, key);
    }
  }

  /** Bytes of the objects, by their names. */
  async #storedSizes(): Promise<Map<string, number>> {
    const { client, key } = openBucket(this.#prefix);
    const folder = key === '' ? '' : `${key}/`;
    const sizes = new Map<string, number>();
    for await (const each of listObjects(client, folder)) sizes.set(each.key.slice(folder.length), each.bytes);
    return sizes;
  }

  /** The list of some stores lacks what was written just now. */
  async #sizeOf(name: string, sizes: ReadonlyMap<string, number>): Promise<number | undefined> {
    const { client, key } = openBucket(inFolder(this.#prefix, name));
    return sizes.get(name) ?? (await headObject(client, key))?.bytes;
  }

  /** A store that refuses says nothing about the input. */
  override async fail(): Promise<void> {
    if (!this.#hasStoreFailed) await super.fail();
  }

  async #storing(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      this.#hasStoreFailed = true;
      throw error;
    }
  }

  override async release(): Promise<void> {
    const isDone = this.#isWhole && !this.isTaken;
    if (isDone) await this.#clear([LOCK_FILE]);
    await super.release();
    // Unless another process has begun to use it.
    if (isDone) await rmdir(this.path).catch(() => undefined);
  }

  async #clear(kept: readonly string[]): Promise<void> {
    for (const name of await readdir(this.path)) {
      if (!kept.includes(name)) await rm(join(this.path, name), { force: true });
    }
  }

  /** @returns whether there is such a file */
  async #upload(name: string): Promise<boolean> {
    const path = join(this.path, name);
    if (!(await isFile(path))) return false;
    await uploadStored(path, inFolder(this.#prefix, name));
    return true;
  }
}

/** The complete ones. */
function shardsOf({ writers }: Progress): readonly { readonly name: string }[] {
  return Object.values(writers).flatMap(({ shards }) => shards);
}
