/**
 * `rollouts/` of a run directory: for each iteration a file that the run trains from, and one to read. Both are written completely or not
 * at all.
 */
import { readFileSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, messageOf, PeerError } from '../../base/errors.ts';
import { writeWhole } from '../../base/writeWhole.ts';

/** Where rollouts are kept. */
export interface RolloutStore {
  /** The name of an iteration's file in messages. */
  pathOf(iteration: number): string;
  /** Returns when both files are on disk. @throws PeerError if the disk refuses */
  write(iteration: number, content: Uint8Array, readable: string): Promise<void>;
  /** The content of an iteration's file; undefined if it is missing. @throws PeerError if it cannot be read */
  read(iteration: number): Uint8Array | undefined;
  /** Removes the files of earlier iterations, except those for which `isNeeded`. */
  prune(before: number, isNeeded: (iteration: number) => boolean): Promise<void>;
}

const namePattern = /^iteration-(\d{6,})\.(safetensors|jsonl)$/;

export class RolloutFolder implements RolloutStore {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  pathOf(iteration: number): string {
    return join(this.#path, `${nameOf(iteration)}.safetensors`);
  }

  async write(iteration: number, content: Uint8Array, readable: string): Promise<void> {
    try {
      await mkdir(this.#path, { recursive: true });
      await writeWhole(join(this.#path, `${nameOf(iteration)}.jsonl`), readable);
      await writeWhole(this.pathOf(iteration), content);
    } catch (error) {
      throw new PeerError(`${this.pathOf(iteration)} cannot be written: ${messageOf(error)}; make room`, {
        cause: error,
      });
    }
  }

  read(iteration: number): Uint8Array | undefined {
    try {
      return readFileSync(this.pathOf(iteration));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw new PeerError(`${this.pathOf(iteration)} cannot be read: ${messageOf(error)}`, { cause: error });
    }
  }

  async prune(before: number, isNeeded: (iteration: number) => boolean): Promise<void> {
    for (const name of await readdir(this.#path)) {
      const iteration = Number(namePattern.exec(name)?.[1] ?? Number.NaN);
      if (iteration < before && !isNeeded(iteration)) await rm(join(this.#path, name), { force: true });
    }
  }
}

function nameOf(iteration: number): string {
  return `iteration-${String(iteration).padStart(6, '0')}`;
}
