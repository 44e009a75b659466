/**
 * The checkpoints of one run: a folder of `step-…` folders. The store begins writes, finds the newest complete checkpoint, keeps
 * the newest K and the best by validation loss, and cleans up the unfinished work of killed processes.
 */
import { existsSync } from 'node:fs';
import { lstat, readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type DiskOperations, nodeDisk } from '../base/diskOperations.ts';
import { errorCode, fullMessageOf, invariant, messageOf, UserError } from '../base/errors.ts';
import type { StateTensor } from '../base/stateParts.ts';
import { readFailure } from '../base/strictJson.ts';
import { type Checkpoint, type OpenOptions, openCheckpoint } from './checkpoint.ts';
import { verifySizes } from './fileIntegrity.ts';
import {
  claimHiddenName,
  type HiddenFolder,
  isWriterGone,
  parseHiddenName,
  releaseHiddenName,
  stepFolderName,
  stepOfFolderName,
} from './folderNames.ts';
import { readManifest, readTrainer } from './manifest.ts';
import { beginCheckpoint, type CheckpointContents, type CheckpointWriter, roomProblem, stateBytes } from './writer.ts';

export interface StoreOptions {
  /** Number of newest checkpoints to keep, besides the best by validation loss. 0 keeps all. Default 0. */
  readonly keep?: number;
  /** Never changes the folder; for commands that read a run that may be active. Default false. */
  readonly readOnly?: boolean;
  /** Called with each cleanup failure; the run does not depend on cleanup. */
  readonly onWarning?: (message: string) => void;
  readonly disk?: DiskOperations;
}

/** A quick look at a checkpoint: names and sizes are checked, hashes are not. */
export interface CheckpointSummary {
  readonly step: number;
  readonly path: string;
  readonly valLoss: number | null;
  /** The reason it cannot be used, or undefined. */
  readonly problem: string | undefined;
}

export interface WholeCheckpoint {
  readonly checkpoint: Checkpoint;
  /** Newer (or better) checkpoints that did not verify, in the order they were tried. */
  readonly skipped: readonly { readonly step: number; readonly reason: string }[];
}

interface Hold {
  /** Whether retention has released it, so that it is deleted when the hold ends. */
  isDue: boolean;
}

export class CheckpointStore {
  readonly directory: string;
  readonly #options: StoreOptions;
  readonly #disk: DiskOperations;
  readonly #holds = new Map<number, Hold>();
  #recovered: Promise<void> | undefined;

  /** @param directory for example `runs/NAME/checkpoints`; the first write creates it */
  constructor(directory: string, options: StoreOptions = {}) {
    this.directory = directory;
    this.#options = options;
    this.#disk = options.disk ?? nodeDisk;
  }

  /**
   * Starts writing the checkpoint of `contents.trainer.step`.
   * @param keepsOlder asked when it is written: whether those before it stay, however many they are
   * @throws PeerError when the disk fails or lacks space
   */
  async beginWrite(contents: CheckpointContents, keepsOlder = () => false): Promise<CheckpointWriter> {
    await this.#recoverOnce();
    const { step } = contents.trainer;
    return beginCheckpoint(this.#disk, this.directory, contents, async () => {
      if (!keepsOlder()) await this.#retain(step);
    });
  }

  /** Why a checkpoint of these tensors does not fit on the disk now ("needs …"), or undefined if it does. */
  async roomProblem(tensors: readonly StateTensor[]): Promise<string | undefined> {
    return await roomProblem(this.#disk, existingFolderOf(this.directory), stateBytes(tensors));
  }

  /** All checkpoints, newest first. */
  async list(): Promise<CheckpointSummary[]> {
    await this.#recoverOnce();
    return this.#summaries();
  }

  /**
   * Opens the newest checkpoint that passes every check.
   * @returns undefined when there is no checkpoint at all
   * @throws UserError when there are some and none is complete, with the reason for each
   */
  async newestWhole(options: OpenOptions = {}): Promise<WholeCheckpoint | undefined> {
    await this.#recoverOnce();
    return this.#firstWhole(await this.#steps(), options);
  }

  /**
   * Opens the checkpoint with the lowest validation loss that passes every check; the earliest of equal ones.
   * @returns undefined when there is no checkpoint with a validation loss
   * @throws UserError when there are some and none is complete, with the reason for each
   */
  async bestWhole(options: OpenOptions = {}): Promise<WholeCheckpoint | undefined> {
    const steps = (await this.measured()).map(({ step }) => step);
    return this.#firstWhole(steps, options);
  }

  /** Checkpoints that have a validation loss, lowest first and, among equals, earliest first (a run's "best"). Their files are not verified. */
  async measured(): Promise<{ readonly step: number; readonly valLoss: number }[]> {
    await this.#recoverOnce();
    const measured: { step: number; valLoss: number }[] = [];
    for (const step of await this.#steps()) {
      // The loss of an unreadable checkpoint is unknown: it is neither the best nor reported as skipped.
      const trainer = await readTrainer(join(this.directory, stepFolderName(step))).catch(() => undefined);
      if (trainer !== undefined && trainer.valLoss !== null) measured.push({ step, valLoss: trainer.valLoss });
    }
    return measured.sort((a, b) => a.valLoss - b.valLoss || a.step - b.step);
  }

  async #firstWhole(steps: readonly number[], options: OpenOptions): Promise<WholeCheckpoint | undefined> {
    const skipped: { step: number; reason: string }[] = [];
    for (const step of steps) {
      try {
        const checkpoint = await openCheckpoint(join(this.directory, stepFolderName(step)), options);
        if (checkpoint.step === step) return { checkpoint, skipped };
        const isOf = checkpoint.step === undefined ? 'no run' : `step ${checkpoint.step}`;
        skipped.push({ step, reason: `${checkpoint.path} is the checkpoint of ${isOf}` });
      } catch (error) {
        skipped.push({ step, reason: fullMessageOf(error) });
      }
    }
    if (skipped.length === 0) return undefined;
    const reasons = skipped.map(({ step, reason }) => `\n  step ${step}: ${reason}`).join('');
    throw new UserError(`No checkpoint in ${this.directory} is complete:${reasons}`);
  }

  /**
   * Keeps the checkpoint of `step` on disk while it is being read, even if newer ones would replace it.
   * @returns a function, to be called once, that ends the hold and deletes the checkpoint if retention no longer keeps it
   * @throws InvariantError when it is already held
   */
  hold(step: number): () => Promise<void> {
    invariant(!this.#holds.has(step), `the checkpoint of step ${step} is held already`);
    const hold: Hold = { isDue: false };
    this.#holds.set(step, hold);
    return async () => {
      try {
        if (hold.isDue) await this.#delete(step);
      } catch (error) {
        this.#warnOfDeletion(error);
      } finally {
        this.#holds.delete(step);
      }
    };
  }

  /** Steps with a checkpoint folder, newest first. */
  async #steps(): Promise<number[]> {
    const names = await this.#names();
    const steps = names.map(stepOfFolderName).filter((step) => step !== undefined);
    return steps.sort((a, b) => b - a);
  }

  async #names(): Promise<string[]> {
    try {
      return await readdir(this.directory);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return [];
      throw readFailure(this.directory, error);
    }
  }

  async #summaries(): Promise<CheckpointSummary[]> {
    const summaries: CheckpointSummary[] = [];
    for (const step of await this.#steps()) {
      const path = join(this.directory, stepFolderName(step));
      try {
        await verifySizes(path, await readManifest(path));
        const { valLoss } = await readTrainer(path);
        summaries.push({ step, path, valLoss, problem: undefined });
      } catch (error) {
        summaries.push({ step, path, valLoss: null, problem: fullMessageOf(error) });
      }
    }
    return summaries;
  }

  /**
   * Deletes the checkpoints that retention no longer keeps, after step `written` was committed. Only complete checkpoints up to
   * that step count and are deleted. Damaged ones do not count, and later ones belong to an abandoned continuation of the run.
   */
  async #retain(written: number): Promise<void> {
    const { keep = 0 } = this.#options;
    if (keep === 0) return;
    try {
      const whole = (await this.#summaries()).filter(({ step, problem }) => step <= written && problem === undefined);
      const kept = new Set(whole.slice(0, keep));
      const measured = whole.filter(({ valLoss }) => valLoss !== null);
      const best = measured.reduce<CheckpointSummary | undefined>(
        (least, candidate) => (least === undefined || candidate.valLoss! <= least.valLoss! ? candidate : least),
        undefined,
      );
      if (best !== undefined) kept.add(best);
      for (const summary of whole) {
        const hold = this.#holds.get(summary.step);
        if (hold !== undefined) hold.isDue = !kept.has(summary);
        else if (!kept.has(summary)) await this.#delete(summary.step);
      }
    } catch (error) {
      this.#warnOfDeletion(error);
    }
  }

  /** Renames it to a hidden name first, so that a half-deleted checkpoint is never visible. */
  async #delete(step: number): Promise<void> {
    const name = claimHiddenName('tmp', stepFolderName(step));
    try {
      await this.#disk.rename(join(this.directory, stepFolderName(step)), join(this.directory, name));
      await this.#disk.removeTree(join(this.directory, name));
    } finally {
      releaseHiddenName(name);
    }
  }

  #recoverOnce(): Promise<void> {
    if (this.#options.readOnly) return Promise.resolve();
    this.#recovered ??= this.#recover();
    return this.#recovered;
  }

  /** Finishes or undoes the work of dead processes. Touches only folders named by the store whose writer has certainly ended. */
  async #recover(): Promise<void> {
    for (const name of await this.#names()) {
      const hidden = parseHiddenName(name);
      if (hidden === undefined) continue;
      try {
        const idleMs = await newestChangeAgeMs(join(this.directory, name));
        if (idleMs !== undefined && isWriterGone(hidden, idleMs)) await this.#clear(hidden);
      } catch (error) {
        this.#warn(`${join(this.directory, name)}, left by a dead process, could not be removed: ${messageOf(error)}`);
      }
    }
  }

  async #clear({ name, kind, target }: HiddenFolder): Promise<void> {
    const path = join(this.directory, name);
    const isReplaced = (await this.#names()).includes(target);
    if (kind === 'old' && !isReplaced) {
      await this.#disk.rename(path, join(this.directory, target)); // killed between the two renames of a replacement
      await this.#disk.syncDirectory(this.directory);
    } else {
      await this.#disk.removeTree(path);
    }
  }

  #warnOfDeletion(error: unknown): void {
    this.#warn(`Old checkpoints in ${this.directory} could not be deleted: ${messageOf(error)}`);
  }

  #warn(message: string): void {
    this.#options.onWarning?.(message);
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
