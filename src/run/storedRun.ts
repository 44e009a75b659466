/**
 * A run whose checkpoints are in an object store (`checkpoint.directory`): one coordinator at a time writes below its prefix, its records are kept
 * beside the checkpoints, and it can resume there without its run directory.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { errorCode, messageOf, PeerError, UserError } from '../base/errors.ts';
import { inFolder, isObjectPath } from '../base/objectPath.ts';
import { shortPath } from '../base/shortPath.ts';
import { writeWhole } from '../base/writeWhole.ts';
import type { CheckpointStore } from '../checkpoint/store.ts';
import type { StateStore } from '../coordinator/checkpointer.ts';
import { openBucket } from '../objectStore/buckets.ts';
import { ObjectLease } from '../objectStore/objectLease.ts';
import type { MetricsLog } from '../records/metricsLog.ts';
import type { RunMessages } from './messages.ts';
import type { RunFolder } from './runFolder.ts';
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
  /** Of the run, as YAML. */
  readonly config: string;
}

const noteSchema = z.object({ directory: z.string(), step: z.int().nonnegative() });

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
      await this.#checkNewest(resumed);
      if (restores && !(await this.#records.restore())) {
        this.#messages.note(`${this.#directory} has no records of the run: its metrics begin here`);
      }
      await this.#records.keepConfig(config);
    } catch (error) {
      await this.#lease.release();
      this.#lease = undefined;
      throw error;
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
      },
    };
  }

  /** The store, in which no checkpoint appears before its records, or once another coordinator has the prefix. */
  guarded(store: StateStore): StateStore {
    return {
      newestWhole: () => store.newestWhole(),
      beginWrite: async (contents, keepsOlder) => {
        const writer = await store.beginWrite(contents, keepsOlder);
        const commit = async () => {
          await this.#lease?.check();
          await this.#keep();
          const path = await writer.commit();
          await noteStored(this.#folder, { directory: this.#directory, step: contents.trainer.step });
          return path;
        };
        return { write: (bytes) => writer.write(bytes), abort: () => writer.abort(), commit };
      },
    };
  }

  /** Keeps the last records, and lets another coordinator have the prefix. Never throws. */
  async release(): Promise<void> {
    if (this.#lease === undefined) return;
    if (this.#lost === undefined && !this.#folder.isLost) await this.#keep();
    await this.#lease.release();
    this.#lease = undefined;
  }

  /** A checkpoint is worth more than its records. */
  async #keep(): Promise<void> {
    if (this.#logs === undefined) return;
    try {
      await this.#logs.metrics.flush();
      await this.#logs.events.flush();
      await this.#records.keep();
      this.#hasWarned = false;
    } catch (error) {
      if (!this.#hasWarned) {
        this.#messages.warn(
          `metrics and events could not be kept in ${this.#directory}: ${messageOf(error)}; the next checkpoint tries again`,
        );
      }
      this.#hasWarned = true;
    }
  }
}

/** The newest checkpoint that this run directory has written to a store. */
interface StoredNote {
  readonly directory: string;
  readonly step: number;
}

async function noteStored(folder: RunFolder, note: StoredNote): Promise<void> {
  await writeWhole(folder.storedNotePath, `${JSON.stringify(note)}\n`);
}

async function storedNote(folder: RunFolder): Promise<StoredNote | undefined> {
  try {
    return noteSchema.safeParse(JSON.parse(await readFile(folder.storedNotePath, 'utf8'))).data;
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw new PeerError(`cannot read ${folder.storedNotePath}: ${messageOf(error)}`);
  }
}

/**
 * Compares what the run directory knows of its checkpoints with what the store has.
 * @param found the newest step in the store
 * @returns whether another run directory has written checkpoints since, so that the records of the store are newer
 * @throws UserError if the store has none of the run's checkpoints
 */
export async function checkStored(
  folder: RunFolder,
  { directory, found }: { readonly directory: string; readonly found: number | undefined },
  { warn }: Pick<RunMessages, 'warn'>,
): Promise<boolean> {
  if (!isObjectPath(directory)) return false;
  const note = await storedNote(folder);
  if (note === undefined || note.directory !== directory) return false;
  if (found === undefined) {
    const { client } = openBucket(directory);
    throw new UserError(
      `${shortPath(folder.path)} wrote the checkpoint of step ${note.step} to ${directory}, but ${client.endpoint} has none there: check the endpoint, the bucket and the keys. ` +
        `If they were removed, and the run is to begin again, remove ${shortPath(folder.storedNotePath)}`,
    );
  }
  if (found < note.step) {
    warn(
      `${directory} lacks the checkpoint of step ${note.step}, which this run wrote: the run resumes from step ${found}`,
    );
  }
  return found > note.step;
}
