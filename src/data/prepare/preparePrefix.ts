/**
 * `launch prepare --out s3://…`: a folder on the disk in which the work is done, and from which complete shards move to the store. So the disk holds
 * the shard that is being written and the progress, and the same command on the same machine resumes.
 */
import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { UserError } from '../../base/errors.ts';
import { inFolder } from '../../base/objectPath.ts';
import { parseJsonObject } from '../../base/strictJson.ts';
import { isFile } from '../../base/wholeFiles.ts';
import { cacheFolder } from '../../objectStore/cacheFolder.ts';
import { PIECES_SUFFIX } from '../../objectStore/pieceHashes.ts';
import { isStored, isStoredFolder, readStored, uploadStored, writeObject } from '../../objectStore/storedFiles.ts';
import { FAILED_FILE, PLAN_FILE, PROGRESS_FILE, SHARD_MANIFEST_FILE } from '../shards/shardManifest.ts';
import { FILE_BYTES_MAX, LOCK_FILE, type Plan, PrepareFolder, type Progress } from './prepareFolder.ts';

/** What stays on the disk. */
const ownFiles = [PLAN_FILE, PROGRESS_FILE, FAILED_FILE, LOCK_FILE];

export class PreparePrefix extends PrepareFolder {
  readonly #prefix: string;
  #isComplete = false;

  /** @param prefix `s3://BUCKET/PREFIX` */
  constructor(prefix: string) {
    const name = createHash('sha256').update(prefix).digest('hex').slice(0, 16);
    super(join(cacheFolder('prepare'), name));
    this.#prefix = prefix;
  }

  override async follow(plan: Plan): Promise<void> {
    const path = inFolder(this.#prefix, PLAN_FILE);
    const text = `${JSON.stringify(plan, undefined, 2)}\n`;
    const isBegun = await isStored(path);
    if (isBegun) {
      const before = parseJsonObject(await readStored(path, FILE_BYTES_MAX), path);
      if (!isDeepStrictEqual(before, JSON.parse(text)) && !(await this.#isVoid())) {
        throw new UserError(
          `${this.#prefix} was prepared from other sources or with other options (${path} says which): choose another --out, or remove its objects`,
        );
      }
    } else if (await isStoredFolder(this.#prefix)) {
      throw new UserError(`${this.#prefix} has other objects: name a new prefix with --out`);
    }
    await super.follow(plan);
    await writeObject(path, text);
  }

  /** Whether the store has nothing beside a plan, whose input may have been refused. */
  async #isVoid(): Promise<boolean> {
    return !(await this.isWhole()) && (await isFile(join(this.path, FAILED_FILE)));
  }

  override async isWhole(): Promise<boolean> {
    return await isStored(inFolder(this.#prefix, SHARD_MANIFEST_FILE));
  }

  override async keepProgress(progress: Progress): Promise<void> {
    await super.keepProgress(progress);
    for (const { shards } of Object.values(progress.writers)) {
      for (const { name } of shards) {
        for (const each of [name, `${name}${PIECES_SUFFIX}`]) await this.#move(each);
      }
    }
  }

  override async complete(manifest: string): Promise<void> {
    for (const name of await readdir(this.path)) if (!ownFiles.includes(name)) await this.#move(name);
    await writeObject(inFolder(this.#prefix, SHARD_MANIFEST_FILE), manifest);
    this.#isComplete = true;
  }

  override async release(): Promise<void> {
    await super.release();
    if (this.#isComplete) await rm(this.path, { recursive: true, force: true });
  }

  /** No effect if it has moved before. */
  async #move(name: string): Promise<void> {
    const path = join(this.path, name);
    if (!(await isFile(path))) return;
    await uploadStored(path, inFolder(this.#prefix, name));
    await rm(path);
  }
}
