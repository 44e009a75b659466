/**
 * The checkpoints of a run as folders on a disk. Each is written in a hidden folder beside its final place, which is then renamed: readers see
 * the complete checkpoint or nothing. Only the rename changes what is visible, and everything it makes visible is already on disk.
 */
import { existsSync } from 'node:fs';
import { lstat, readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { DiskOperations } from '../base/diskOperations.ts';
import { errorCode, messageOf } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { readFailure } from '../base/strictJson.ts';
import type { CheckpointDraft, CheckpointPlace, PlacedCheckpoint, Warn } from './checkpointPlace.ts';
import {
  claimHiddenName,
  type HiddenFolder,
  isWriterGone,
  parseHiddenName,
  releaseHiddenName,
  stepFolderName,
  stepOfFolderName,
} from './folderNames.ts';

/** Disk space needed besides the tensors: headers, JSON, folder entries. */
const FREE_BYTES_MARGIN = 2 ** 20;

/** @param directory for example `runs/NAME/checkpoints`; the first draft creates it */
export function diskCheckpoints(directory: string, disk: DiskOperations, warn: Warn): CheckpointPlace {
  return {
    async list() {
      const names = await namesIn(directory);
      const found = names.flatMap((name): PlacedCheckpoint[] => {
        const step = stepOfFolderName(name);
        return step === undefined ? [] : [{ step, path: join(directory, name) }];
      });
      return found.sort((a, b) => b.step - a.step);
    },
    draft: (step) => new DiskDraft(disk, directory, step),
    roomProblem: (bytes) => roomProblem(disk, existingFolderOf(directory), bytes),
    remove: ({ path, step }) => removeHidden(disk, { directory, path, step }),
    recover: () => recover(disk, directory, warn),
  };
}

/** Why a checkpoint of `bytes` bytes does not fit into the existing `folder` ("needs …"), or undefined if it does. */
async function roomProblem(disk: DiskOperations, folder: string, bytes: number): Promise<string | undefined> {
  const free = await disk.freeBytes(folder);
  const needed = bytes + FREE_BYTES_MARGIN;
  return free < needed
    ? `needs ${grouped(needed)} bytes, but the disk of ${folder} has only ${grouped(free)} free`
    : undefined;
}

class DiskDraft implements CheckpointDraft {
  readonly path: string;
  readonly #disk: DiskOperations;
  readonly #directory: string;
  readonly #target: string;
  readonly #hiddenName: string;
  readonly #hidden: string;
  #isVisible = false;

  constructor(disk: DiskOperations, directory: string, step: number) {
    this.#disk = disk;
    this.#directory = directory;
    this.#target = stepFolderName(step);
    this.path = join(directory, this.#target);
    this.#hiddenName = claimHiddenName('tmp', this.#target);
    this.#hidden = join(directory, this.#hiddenName);
  }

  get isVisible(): boolean {
    return this.#isVisible;
  }

  async begin(bytes: number): Promise<void> {
    await this.#disk.makeDirectory(this.#directory);
    const problem = await roomProblem(this.#disk, this.#directory, bytes);
    if (problem !== undefined) throw new Error(`it ${problem}`);
    await this.#disk.makeDirectory(this.#hidden);
  }

  createFile(name: string) {
    return this.#disk.createFile(join(this.#hidden, name));
  }

  /** Renames the hidden folder, replacing an earlier checkpoint of the same step. */
  async publish(): Promise<void> {
    await this.#disk.syncDirectory(this.#hidden);
    await ((await exists(this.path)) ? this.#replace() : this.#rename());
    releaseHiddenName(this.#hiddenName);
  }

  async #rename(): Promise<void> {
    await this.#disk.rename(this.#hidden, this.path);
    this.#isVisible = true;
    await this.#disk.syncDirectory(this.#directory);
  }

  /** Two renames: after a crash between them, the store finds the replaced folder and restores it. */
  async #replace(): Promise<void> {
    const oldName = claimHiddenName('old', this.#target);
    const old = join(this.#directory, oldName);
    try {
      await this.#disk.rename(this.path, old);
      try {
        await this.#disk.rename(this.#hidden, this.path);
      } catch (error) {
        await this.#disk.rename(old, this.path);
        throw error;
      }
      this.#isVisible = true;
      await this.#disk.syncDirectory(this.#directory);
      await this.#disk.removeTree(old).catch(() => undefined); // the store removes it when it is next opened
    } finally {
      releaseHiddenName(oldName);
    }
  }

  async discard(): Promise<void> {
    // The store removes any leftovers when it is next opened.
    await this.#disk.removeTree(this.#hidden).catch(() => undefined);
    releaseHiddenName(this.#hiddenName);
  }
}

/** Renames it to a hidden name first, so that a half-deleted checkpoint is never visible. */
async function removeHidden(
  disk: DiskOperations,
  { directory, path, step }: PlacedCheckpoint & { directory: string },
): Promise<void> {
  const name = claimHiddenName('tmp', stepFolderName(step));
  try {
    await disk.rename(path, join(directory, name));
    await disk.removeTree(join(directory, name));
  } finally {
    releaseHiddenName(name);
  }
}

/** Finishes or undoes the work of dead processes. Touches only folders named by the store whose writer has certainly ended. */
async function recover(disk: DiskOperations, directory: string, warn: Warn): Promise<void> {
  for (const name of await namesIn(directory)) {
    const hidden = parseHiddenName(name);
    if (hidden === undefined) continue;
    try {
      const idleMs = await newestChangeAgeMs(join(directory, name));
      if (idleMs !== undefined && isWriterGone(hidden, idleMs)) await clear(disk, directory, hidden);
    } catch (error) {
      warn(`${join(directory, name)}, left by a dead process, could not be removed: ${messageOf(error)}`);
    }
  }
}

async function clear(disk: DiskOperations, directory: string, { name, kind, target }: HiddenFolder): Promise<void> {
  const path = join(directory, name);
  const isReplaced = (await namesIn(directory)).includes(target);
  if (kind === 'old' && !isReplaced) {
    await disk.rename(path, join(directory, target)); // killed between the two renames of a replacement
    await disk.syncDirectory(directory);
  } else {
    await disk.removeTree(path);
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw readFailure(directory, error);
  }
}

/** Time since the folder or a file in it last changed; undefined if it is missing or not a folder. */
async function newestChangeAgeMs(path: string): Promise<number | undefined> {
  try {
    if (!(await lstat(path)).isDirectory()) return undefined;
    let newest = 0;
    const entries = await readdir(path, { withFileTypes: true });
    for (const file of ['.', ...entries.map(({ name }) => name)]) {
      newest = Math.max(newest, (await stat(join(path, file))).mtimeMs);
    }
    return Date.now() - newest;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error))) return undefined;
    throw error;
  }
}

/** The folder itself, or its nearest existing ancestor. */
function existingFolderOf(path: string): string {
  let folder = resolve(path);
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
