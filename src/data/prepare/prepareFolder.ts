/**
 * The folder that `launch prepare` writes, during the work: `prepare.json` has the request, `progress.json` the progress, and
 * `manifest.json`, written last, makes it complete. If a process is killed, the same command finishes its folder; if the input was
 * refused, any other command may take the folder over.
 */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { errorCode, messageOf, PeerError, UserError } from '../../base/errors.ts';
import { claimLock, type HeldLock } from '../../base/lockFile.ts';
import { grouped } from '../../base/numberText.ts';
import { damaged, parseJsonObject, readBoundedFile } from '../../base/strictJson.ts';
import { isFile } from '../../base/wholeFiles.ts';
import { writeWhole } from '../../base/writeWhole.ts';
import {
  encodeShardManifest,
  FAILED_FILE,
  type ManifestContent,
  PLAN_FILE,
  PROGRESS_FILE,
  SHARD_MANIFEST_FILE,
} from '../shards/shardManifest.ts';

export const LOCK_FILE = 'prepare.lock';
/** A plan or progress lists every source or shard. */
export const FILE_BYTES_MAX = 256 * 2 ** 20;

const count = z.number().int().nonnegative();
const shards = z.array(z.strictObject({ name: z.string(), tokens: count, sha256: z.string() })).readonly();
const writerState = z.strictObject({ shards, openTokens: count });

const progressSchema = z.strictObject({
  /** When each source last changed; a different time means a different input. */
  mtimes: z.array(z.number()),
  cursor: z.strictObject({ source: count, offset: count, line: count, inputSha256: z.string().exactOptional() }),
  documents: count,
  textBytes: count,
  skipped: count,
  writers: z.record(z.string(), writerState).readonly(),
});
/** Everything before the cursor is in the shards and on disk. */
export type Progress = z.infer<typeof progressSchema>;

/** The request, as plain JSON. The same plan gives the same bytes. */
export type Plan = Readonly<Record<string, unknown>>;

/** Whether `prepare` makes files with this name for the tokens. */
export function isShardFile(name: string): boolean {
  return /^(tokens|train|val)-\d{5,}\.bin(\.pieces)?$/.test(name);
}

export class PrepareFolder {
  readonly path: string;
  /** The permissions with which it creates the folder. */
  protected readonly mode: number = 0o777;
  #lock: HeldLock | undefined;
  /** The process that has the folder, if this process has lost it. */
  #takenBy: string | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Creates the folder if needed, and claims it for this process.
   * @param note called with the reason for a delay
   * @throws UserError if it contains something else, or another process works in it
   */
  async claim(note: (message: string) => void): Promise<void> {
    try {
      await mkdir(this.path, { recursive: true, mode: this.mode });
      const names = await readdir(this.path);
      if (names.length > 0 && !names.includes(PLAN_FILE) && !names.includes(LOCK_FILE)) {
        throw new UserError(`${this.path} has other files in it: name a new folder with --out`);
      }
      this.#lock = await claimLock(join(this.path, LOCK_FILE), {
        refusal: (who) => `${who} is preparing ${this.path}: wait for it, or choose another --out`,
        onWait: note,
        onLost: (who) => {
          this.#takenBy = who;
        },
      });
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw new UserError(`cannot write to ${this.path}: ${messageOf(error)}`);
    }
  }

  /** Whether another process has it now. */
  protected get isTaken(): boolean {
    return this.#takenBy !== undefined;
  }

  async release(): Promise<void> {
    await this.#lock?.release();
    this.#lock = undefined;
  }

  /** Records the plan. @throws UserError if the folder was made or begun with another plan and its contents are usable */
  async follow(plan: Plan): Promise<void> {
    const path = join(this.path, PLAN_FILE);
    if (!(await isFile(path))) {
      await this.#begin(plan);
      return;
    }
    const before = parseJsonObject(await readBoundedFile(path, FILE_BYTES_MAX), path);
    const keys = [...new Set([...Object.keys(before), ...Object.keys(plan)])];
    const differing = keys.find((key) => !isDeepStrictEqual(before[key], plan[key]));
    if (differing === undefined) return;
    if (await this.#isVoid()) {
      await this.#begin(plan);
      return;
    }
    const [was, is] = shownApart(differing, before[differing], plan[differing]);
    throw new UserError(
      `${this.path} was prepared with ${differing} ${was}, not ${is}: choose another --out, or remove the folder`,
    );
  }

  /** Whether it contains nothing that could be used or resumed. */
  async #isVoid(): Promise<boolean> {
    if (await this.isWhole()) return false;
    return (await isFile(join(this.path, FAILED_FILE))) || !(await isFile(join(this.path, PROGRESS_FILE)));
  }

  /** Removes the progress first, because it belongs to another plan, which may have more shards than the new one. */
  async #begin(plan: Plan): Promise<void> {
    await this.writing(async () => {
      const shards = (await readdir(this.path)).filter(isShardFile);
      for (const name of [PROGRESS_FILE, FAILED_FILE, ...shards]) await rm(join(this.path, name), { force: true });
      await writeWhole(join(this.path, PLAN_FILE), `${JSON.stringify(plan, undefined, 2)}\n`);
    });
  }

  /** A new attempt: the failure of an earlier one says nothing about this one, which may be killed and resumed. */
  async attempt(): Promise<void> {
    await this.writing(() => rm(join(this.path, FAILED_FILE), { force: true }));
  }

  /** The input was refused: the folder may be reused for another. */
  async fail(): Promise<void> {
    await this.writing(() => writeWhole(join(this.path, FAILED_FILE), ''));
  }

  async isWhole(): Promise<boolean> {
    return isFile(join(this.path, SHARD_MANIFEST_FILE));
  }

  /** The progress of a stopped process; undefined if it had not begun. @throws UserError if an input has changed since */
  async progress(sources: readonly { name: string; mtimeMs: number }[]): Promise<Progress | undefined> {
    const path = join(this.path, PROGRESS_FILE);
    if (!(await isFile(path))) return undefined;
    const parsed = progressSchema.safeParse(parseJsonObject(await readBoundedFile(path, FILE_BYTES_MAX), path));
    if (!parsed.success)
      throw damaged(path, `${parsed.error.issues[0]?.path.join('.')}: ${parsed.error.issues[0]?.message}`);
    const changed = sources.find(({ mtimeMs }, i) => mtimeMs !== parsed.data.mtimes[i]);
    if (changed === undefined) return parsed.data;
    if (await isFile(join(this.path, FAILED_FILE))) {
      for (const name of [PROGRESS_FILE, FAILED_FILE]) await rm(join(this.path, name), { force: true });
      return undefined;
    }
    throw new UserError(
      `${changed.name} has changed since ${this.path} was begun: remove the folder and start again, or choose another --out`,
    );
  }

  async keepProgress(progress: Progress): Promise<void> {
    await writeWhole(join(this.path, PROGRESS_FILE), `${JSON.stringify(progress)}\n`);
  }

  /** Writes a small file beside the shards. */
  async keep(name: string, content: string): Promise<void> {
    await writeWhole(join(this.path, name), content);
  }

  /** From here on the folder is complete. */
  async complete(manifest: ManifestContent): Promise<void> {
    await writeWhole(join(this.path, SHARD_MANIFEST_FILE), encodeShardManifest(manifest));
    for (const name of [PROGRESS_FILE, FAILED_FILE]) await rm(join(this.path, name), { force: true });
  }

  /** Runs a function that writes here, and explains failures of the disk. */
  async writing<T>(write: () => Promise<T>): Promise<T> {
    if (this.#takenBy !== undefined) {
      throw new PeerError(`${this.#takenBy} has taken ${this.path}: only one process can prepare it`);
    }
    try {
      return await write();
    } catch (error) {
      if (errorCode(error) === '' || error instanceof UserError) throw error;
      throw new PeerError(
        `cannot write to ${this.path}: ${messageOf(error)}. The output is incomplete and will not be used. Once it can be written, run the same command again to resume.`,
        { cause: error },
      );
    }
  }
}

const namedSources = z.array(z.object({ name: z.string(), bytes: z.number() }));

/** Both values of a plan's key for a message; for two lists of sources, only their differences. */
function shownApart(key: string, before: unknown, now: unknown): [was: string, is: string] {
  const [one, other] = [namedSources.safeParse(before).data, namedSources.safeParse(now).data];
  if (key !== 'sources' || one === undefined || other === undefined) return [shown(key, before), shown(key, now)];
  const without = (from: typeof one, others: typeof one) =>
    from.filter((source) => !others.some((each) => isDeepStrictEqual(each, source)));
  const [was, is] = [without(one, other), without(other, one)];
  // The same sources in another order or format.
  if (was.length + is.length === 0) return [shown(key, before), `${shown(key, now)} in another order or format`];
  return [was.length === 0 ? 'nothing' : shown(key, was), is.length === 0 ? 'nothing' : shown(key, is)];
}

/** The value of a plan's key; for sources, the parts that distinguish them for a reader. */
function shown(key: string, value: unknown): string {
  const sources = key === 'sources' ? namedSources.safeParse(value).data : undefined;
  const text =
    sources?.map(({ name, bytes }) => `${name} (${grouped(bytes)} bytes)`).join(', ') ??
    (value === undefined ? 'nothing' : JSON.stringify(value));
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
