/**
 * The checkpoints of one run: a folder of `step-…` folders, on a disk or in an object store. The store begins writes, finds the newest complete checkpoint, keeps
 * the newest K and the best by validation loss, and has its place clean up the unfinished work of killed processes.
 */
import { type DiskOperations, nodeDisk } from '../base/diskOperations.ts';
import { fullMessageOf, invariant, messageOf, PeerError, UserError } from '../base/errors.ts';
import { isObjectPath } from '../base/objectPath.ts';
import type { StateTensor } from '../base/stateParts.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { CheckpointPlace, PlacedCheckpoint } from './checkpointPlace.ts';
import { diskCheckpoints } from './diskCheckpoints.ts';
import { verifySizes } from './fileIntegrity.ts';
import { readManifest, readTrainer } from './manifest.ts';
import { objectCheckpoints } from './objectCheckpoints.ts';
import { type OpenOptions, openCheckpoint } from './openCheckpoint.ts';
import { beginCheckpoint, type CheckpointContents, type CheckpointWriter, stateBytes } from './writer.ts';

export interface StoreOptions {
  /** Number of newest checkpoints to keep, besides the best by validation loss. 0 keeps all. Default 0. */
  readonly keep?: number;
  /** Never changes the folder; for commands that read a run that may be active. Default false. */
  readonly readOnly?: boolean;
  /** Called with each cleanup failure; the run does not depend on cleanup. */
  readonly onWarning?: (message: string) => void;
  readonly disk?: DiskOperations;
  /** Bytes of a part of an upload to an object store. Default 16 MiB, or more for files above 156 GiB. */
  readonly partBytes?: number;
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
  /** The validation loss at its step, in nats; null if it is unknown. */
  readonly valLoss: number | null;
  /** Newer (or better) checkpoints that did not verify, in the order they were tried. */
  readonly skipped: readonly { readonly step: number; readonly reason: string }[];
}

interface Hold {
  /** Its folder, once retention has released it. */
  path: string;
  /** Whether retention has released it, so that it is deleted when the hold ends. */
  isDue: boolean;
}

export class CheckpointStore {
  readonly directory: string;
  readonly #options: StoreOptions;
  readonly #place: CheckpointPlace;
  readonly #holds = new Map<number, Hold>();
  #recovered: Promise<void> | undefined;
  #evaluations: () => readonly { readonly step: number; readonly loss: number }[] = () => [];

  /** @param directory for example `runs/NAME/checkpoints`, or `s3://BUCKET/PREFIX`; the first write creates it */
  constructor(directory: string, options: StoreOptions = {}) {
    this.directory = directory;
    this.#options = options;
    const warn = (message: string) => this.#warn(message);
    this.#place = isObjectPath(directory)
      ? objectCheckpoints(directory, warn, options.partBytes)
      : diskCheckpoints(directory, options.disk ?? nodeDisk, warn);
  }

  /**
   * Starts writing the checkpoint of `contents.trainer.step`.
   * @param keepsOlder asked when it is written: whether those before it stay, however many they are
   * @throws PeerError when the disk fails or lacks space, or the store cannot be reached
   */
  async beginWrite(contents: CheckpointContents, keepsOlder = () => false): Promise<CheckpointWriter> {
    await this.#recoverOnce();
    const { step } = contents.trainer;
    return beginCheckpoint(this.#place.draft(step), contents, async () => {
      if (!keepsOlder()) await this.#retain(step);
    });
  }

  /**
   * From now on, the best checkpoint may also be one that was evaluated after it was written, such as that of step 0 of weights that
   * were trained before.
   * @param evaluations of the run so far, asked whenever losses are compared; a loss that a checkpoint records itself counts more
   */
  useEvaluations(evaluations: () => readonly { readonly step: number; readonly loss: number }[]): void {
    this.#evaluations = evaluations;
  }

  #valLossAt(step: number, recorded: number | null | undefined): number | null {
    const loss = recorded ?? this.#evaluations().findLast((evaluated) => evaluated.step === step)?.loss;
    return loss !== undefined && Number.isFinite(loss) ? loss : null;
  }

  /** Why a checkpoint of these tensors does not fit on the disk now ("needs …"), or undefined if it does. */
  async roomProblem(tensors: readonly StateTensor[]): Promise<string | undefined> {
    return await this.#place.roomProblem(stateBytes(tensors));
  }

  /** All checkpoints, newest first. */
  async list(): Promise<CheckpointSummary[]> {
    await this.#recoverOnce();
    return this.#summaries();
  }

  /** The newest step that has a checkpoint, which may be damaged; undefined if there is none. */
  async newestStep(): Promise<number | undefined> {
    await this.#recoverOnce();
    const [newest] = await this.#place.list();
    return newest?.step;
  }

  /**
   * Opens the newest checkpoint that passes every check.
   * @returns undefined when there is no checkpoint at all
   * @throws UserError when there are some and none is complete, with the reason for each
   */
  async newestWhole(options: OpenOptions = {}): Promise<WholeCheckpoint | undefined> {
    await this.#recoverOnce();
    return this.#firstWhole(await this.#place.list(), options);
  }

  /**
   * Opens the checkpoint with the lowest validation loss that passes every check; the earliest of equal ones. If none of those with a
   * validation loss passes, the newest of the others.
   * @returns undefined when there is no checkpoint with a validation loss
   * @throws UserError when there are some and no checkpoint is complete, with the reason for each
   */
  async bestWhole(options: OpenOptions = {}): Promise<WholeCheckpoint | undefined> {
    const measured = await this.measured();
    if (measured.length === 0) return undefined;
    const steps = new Set(measured.map(({ step }) => step));
    const others = (await this.#place.list()).filter(({ step }) => !steps.has(step));
    return this.#firstWhole([...measured, ...others], options);
  }

  /** Checkpoints that have a validation loss, lowest first and, among equals, earliest first (a run's "best"). Their files are not verified. */
  async measured(): Promise<(PlacedCheckpoint & { readonly valLoss: number })[]> {
    await this.#recoverOnce();
    const measured: (PlacedCheckpoint & { valLoss: number })[] = [];
    for (const { step, path } of await this.#place.list()) {
      // The loss of an unreadable checkpoint is unknown: it is neither the best nor reported as skipped.
      const trainer = await readTrainer(path).catch((error: unknown) => this.#passDamage(error));
      const valLoss = trainer && this.#valLossAt(step, trainer.valLoss);
      if (typeof valLoss === 'number') measured.push({ step, path, valLoss });
    }
    return measured.sort((a, b) => a.valLoss - b.valLoss || a.step - b.step);
  }

  async #firstWhole(
    candidates: readonly PlacedCheckpoint[],
    options: OpenOptions,
  ): Promise<WholeCheckpoint | undefined> {
    const skipped: { step: number; reason: string }[] = [];
    for (const { step, path } of candidates) {
      try {
        const checkpoint = await openCheckpoint(path, options);
        const valLoss = this.#valLossAt(step, checkpoint.trainer?.valLoss);
        if (checkpoint.step === step) return { checkpoint, valLoss, skipped };
        const isOf = checkpoint.step === undefined ? 'no run' : `step ${checkpoint.step}`;
        skipped.push({ step, reason: `${checkpoint.path} is the checkpoint of ${isOf}` });
      } catch (error) {
        this.#passDamage(error);
        skipped.push({ step, reason: fullMessageOf(error) });
      }
    }
    if (skipped.length === 0) return undefined;
    const reasons = skipped.map(({ step, reason }) => `\n  step ${step}: ${reason}`).join('');
    throw new UserError(`no checkpoint in ${this.directory} is complete:${reasons}`);
  }

  /**
   * Keeps the checkpoint of `step` on disk while it is being read, even if newer ones would replace it.
   * @returns a function, to be called once, that ends the hold and deletes the checkpoint if retention no longer keeps it
   * @throws InvariantError when it is already held
   */
  hold(step: number): () => Promise<void> {
    invariant(!this.#holds.has(step), `the checkpoint of step ${step} is held already`);
    const hold: Hold = { path: '', isDue: false };
    this.#holds.set(step, hold);
    return async () => {
      try {
        if (hold.isDue) await this.#place.remove({ step, path: hold.path });
      } catch (error) {
        this.#warnOfDeletion(error);
      } finally {
        this.#holds.delete(step);
      }
    };
  }

  /** @throws `error` if a store cannot be reached: its newest checkpoint may be complete, so no older one replaces it */
  #passDamage(error: unknown): undefined {
    if (error instanceof PeerError && isObjectPath(this.directory)) throw error;
  }

  async #summaries(): Promise<CheckpointSummary[]> {
    const summaries: CheckpointSummary[] = [];
    for (const { step, path } of await this.#place.list()) {
      try {
        await verifySizes(path, await readManifest(path));
        const trainer = await readTrainer(path);
        summaries.push({ step, path, valLoss: this.#valLossAt(step, trainer.valLoss), problem: undefined });
      } catch (error) {
        this.#passDamage(error);
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
        if (hold !== undefined) Object.assign(hold, { isDue: !kept.has(summary), path: summary.path });
        else if (!kept.has(summary)) await this.#place.remove(summary);
      }
    } catch (error) {
      this.#warnOfDeletion(error);
    }
  }

  #recoverOnce(): Promise<void> {
    if (this.#options.readOnly) return Promise.resolve();
    this.#recovered ??= this.#place.recover();
    return this.#recovered;
  }

  #warnOfDeletion(error: unknown): void {
    this.#warn(`Old checkpoints in ${this.directory} could not be deleted: ${messageOf(error)}`);
  }

  #warn(message: string): void {
    this.#options.onWarning?.(message);
  }
}
