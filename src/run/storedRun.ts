/**
 * A run whose checkpoints are in an object store (`checkpoint.directory`): one coordinator at a time writes below its prefix, its records are kept
 * beside the checkpoints, and it can resume there without its run directory.
 */
import { messageOf, PeerError } from '../base/errors.ts';
import { inFolder, isObjectPath } from '../base/objectPath.ts';
import { shortPath } from '../base/shortPath.ts';
import type { CheckpointStore } from '../checkpoint/store.ts';
import type { StateStore } from '../coordinator/checkpointer.ts';
import { openBucket } from '../objectStore/buckets.ts';
import { ObjectLease } from '../objectStore/objectLease.ts';
import type { MetricsLog } from '../records/metricsLog.ts';
import type { RunMessages } from './messages.ts';
import type { RunFolder } from './runFolder.ts';
import { readNote, type StoredNote, writeNote } from './storedNote.ts';
import { RECORDS_FOLDER, StoredRecords } from './storedRecords.ts';

/** The logs of a run that is in progress. */
export interface RunLogs {
  readonly metrics: Pick<MetricsLog, 'append' | 'rewind' | 'flush'>;
  readonly events: { readonly flush: () => Promise<void> };
}

/** Where a run finds its newest checkpoint. */
export type ResumedStore = Pick<CheckpointStore, 'directory' | 'newestStep'> & {
  readonly newestWhole: () => Promise<{ readonly checkpoint: { readonly step: number | undefined } } | undefined>;
};

export interface StoredClaim {
  /** The step of the checkpoint that the run was prepared from; undefined if there was none. */
  readonly resumed: number | undefined;
  /** Whether the records in the store are newer than those of the run directory. */
  readonly restores: boolean;
  /** The config of the run, as YAML. */
  readonly config: string;
}

/** At the end of a run, which must not wait for a store that is down. */
const lastCheckMs = 8_000;

export class StoredRun {
  readonly #directory: string;
  readonly #store: ResumedStore;
  readonly #folder: RunFolder;
  readonly #messages: RunMessages;
  readonly #records: StoredRecords;
  readonly #onLost: ((error: PeerError) => void)[] = [];
  #lease: ObjectLease | undefined;
  #lost: PeerError | undefined;
  #logs: RunLogs | undefined;
  #hasWarned = false;
  #note: StoredNote;
  #hasWarnedOfNote = false;

  /** Undefined for a run with its checkpoints on a disk. */
  static of(
    { store, folder }: { readonly store: ResumedStore; readonly folder: RunFolder },
    messages: RunMessages,
  ): StoredRun | undefined {
    return isObjectPath(store.directory) ? new StoredRun(store, folder, messages) : undefined;
  }

  private constructor(store: ResumedStore, folder: RunFolder, messages: RunMessages) {
    const { directory } = store;
    this.#directory = directory;
    this.#note = { directory };
    this.#store = store;
    this.#folder = folder;
    this.#messages = messages;
    this.#records = new StoredRecords(directory, folder);
  }

  /** Whether this process has claimed the prefix, and no other has taken it. */
  get isHeld(): boolean {
    return this.#lease !== undefined && this.#lost === undefined;
  }

  /**
   * Claims the prefix, and brings the records of an earlier run directory back.
   * @throws PeerError if another coordinator writes there or has done so since this run was prepared, or the store cannot be reached
   */
  async claim({ resumed, restores, config }: StoredClaim): Promise<void> {
    this.#lease = await this.#claim();
    try {
      const note = await readNote(this.#folder);
      if (note?.directory === this.#directory) this.#note = note;
      await this.#checkNewest(resumed);
      if (restores) await this.#restore();
      await this.#records.keepConfig(config);
    } catch (error) {
      await this.#lease.release();
      this.#lease = undefined;
      throw error;
    }
  }

  async #restore(): Promise<void> {
    const { hasAny, missing } = await this.#records.restore();
    if (!hasAny) this.#messages.note(`${this.#directory} has no records of the run: its metrics begin here`);
    for (const path of missing) {
      this.#messages.warn(
        `${path} is missing: the records of the run that follow it are lost. The checkpoints are not affected`,
      );
    }
  }

  async #claim(): Promise<ObjectLease> {
    const { client, key } = openBucket(inFolder(this.#directory, RECORDS_FOLDER, 'coordinator.json'));
    return await ObjectLease.claim(client, key, {
      refusal: (who) =>
        `${who} is training with its checkpoints in ${this.#directory}: wait for it, or choose another checkpoint.directory`,
      onWait: this.#messages.warn,
      onLost: (who) => {
        this.#lost = new PeerError(
          `${who} has taken ${this.#directory}: both began at once, or this process did not renew its claim in time. Only one of them can write there`,
        );
        for (const tell of this.#onLost.splice(0)) tell(this.#lost);
      },
    });
  }

  /** The run was prepared before the claim, which takes minutes with much data: an earlier coordinator may have written until then. */
  async #checkNewest(resumed: number | undefined): Promise<void> {
    const newest = await this.#store.newestStep();
    if (newest === resumed) return;
    // Damaged ones were skipped before.
    if (resumed !== undefined && (await this.#store.newestWhole())?.checkpoint.step === resumed) return;
    const [is, was] = [newest, resumed].map((step) => (step === undefined ? 'none' : `that of step ${step}`));
    throw new PeerError(
      `the newest checkpoint in ${this.#directory} is ${is}, but it was ${was} when this run was prepared: another coordinator has changed them since. Start again`,
    );
  }

  /** Called when another coordinator has taken the prefix. */
  onLost(tell: (error: PeerError) => void): void {
    if (this.#lost !== undefined) tell(this.#lost);
    else this.#onLost.push(tell);
  }

  /** The logs, which are kept from now on. @returns the metrics, with the same contents */
  follow(logs: RunLogs): RunLogs['metrics'] {
    const { metrics } = logs;
    this.#logs = logs;
    return {
      append: (line) => metrics.append(line),
      flush: () => metrics.flush(),
      rewind: (step) => {
        metrics.rewind(step);
        this.#records.rewound();
        // The lines are dropped later than this, and an edition that was begun until then has them.
        void metrics.flush().then(() => this.#records.rewound());
      },
    };
  }

  /**
   * The store, in which no checkpoint appears once another coordinator has the prefix. Its records are kept before it; if that fails, a warning says
   * so, and the checkpoint appears without them.
   */
  guarded(store: StateStore): StateStore {
    return {
      newestWhole: () => store.newestWhole(),
      beginWrite: async (contents, keepsOlder) => {
        const writer = await store.beginWrite(contents, keepsOlder);
        const commit = async () => {
          await this.#lease?.check();
          await this.#keep('the next checkpoint tries again');
          const { step } = contents.trainer;
          // A process that is killed after the manifest and before the second note still knows the checkpoint as its own.
          const { directory } = this.#note;
          await this.#noteStored({ ...this.#note, writing: step });
          const path = await writer.commit();
          await this.#noteStored({ directory, step });
          return path;
        };
        return { write: (bytes) => writer.write(bytes), abort: () => writer.abort(), commit };
      },
    };
  }

  /** Keeps the last records, and lets another coordinator have the prefix. Never throws. */
  async release(): Promise<void> {
    const lease = this.#lease;
    if (lease === undefined) return;
    if (!this.#folder.isLost && (await this.#mayStillWrite(lease))) await this.#keep('a resume lacks the last of them');
    await lease.release();
    this.#lease = undefined;
  }

  /** A process that was frozen for long may have lost the prefix without knowing it. */
  async #mayStillWrite(lease: ObjectLease): Promise<boolean> {
    if (this.#lost !== undefined) return false;
    try {
      await lease.check(AbortSignal.timeout(lastCheckMs));
      return true;
    } catch (error) {
      if (this.#lost === undefined) this.#warnOfRecords(error, 'a resume lacks the last of them');
      return false;
    }
  }

  /** A checkpoint is worth more than its records. @param effect of a failure, for the warning */
  async #keep(effect: string): Promise<void> {
    if (this.#logs === undefined) return;
    try {
      await this.#logs.metrics.flush();
      await this.#logs.events.flush();
      await this.#records.keep();
      this.#hasWarned = false;
    } catch (error) {
      this.#warnOfRecords(error, effect);
    }
  }

  #warnOfRecords(error: unknown, effect: string): void {
    if (!this.#hasWarned) {
      this.#messages.warn(`metrics and events could not be kept in ${this.#directory}: ${messageOf(error)}; ${effect}`);
    }
    this.#hasWarned = true;
  }

  /** The checkpoint is complete without it: a full disk here does not make it a failed one. */
  async #noteStored(note: StoredNote): Promise<void> {
    try {
      await writeNote(this.#folder, note);
      this.#hasWarnedOfNote = false;
    } catch (error) {
      if (!this.#hasWarnedOfNote) {
        this.#messages.warn(
          `${shortPath(this.#folder.storedNotePath)} could not be written: ${messageOf(error)}; checkpoints are complete without it`,
        );
      }
      this.#hasWarnedOfNote = true;
    }
    this.#note = note;
  }
}
