/**
 * `journal.jsonl` of a run directory: what the coordinator has decided, so that one that is killed can be started again
 * without a checkpoint. What the records mean is journalRecords.ts; why it is so, docs/decisions/journal.md.
 *
 * A record has left the process when `append` returns: killing the process loses none. Commits come to the disk soon after,
 * several with one sync; the others are rare and are on the disk when `append` returns. The file is written anew, beside and
 * renamed, when it has grown and after the disk has refused something, so that no half line ever lies between others.
 */
import { readFileSync, statSync } from 'node:fs';
import { errorCode, InvariantError, invariant, messageOf, PeerError } from '../base/errors.ts';
import { type JournalDisk, nodeJournalDisk } from './journalDisk.ts';
import {
  compacted,
  encodeLine,
  follow,
  type JournalContents,
  type JournalHistory,
  type JournalRecord,
  misplaced,
  type Recovered,
  readContents,
  recoveredFrom,
} from './journalRecords.ts';

/** Storage for decisions. */
export interface JournalSink {
  /** Returns when the record would survive the end of this process. */
  append(record: JournalRecord): void;
  /** Resolves when the records would survive a power failure, or the disk has failed. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface JournalOptions {
  /** Above this size the file is rewritten. Default 1 MiB. */
  readonly compactAboveBytes?: number;
  readonly disk?: JournalDisk;
}

/** Maximum size of a file to read: larger than any journal can be. */
const fileBytesMax = 128 * 2 ** 20;

export class Journal implements JournalSink {
  readonly #path: string;
  readonly #onWarning: (message: string) => void;
  readonly #compactAboveBytes: number;
  readonly #disk: JournalDisk;
  #history: JournalHistory | undefined;
  /** Length of the valid records in the file; the rest is torn. */
  #bytes: number;
  #crc: number;
  /** Whether the file matches `#history`, so that a line can be appended. */
  #isWhole: boolean;
  #compactAt: number;
  #descriptor: number | undefined;
  #syncing: Promise<void> | undefined;
  #isDirty = false;
  /** Descriptors of replaced files. One in use by a sync must not be closed, because its number could be reused for another file. */
  readonly #retired: number[] = [];
  #hasWarned = false;
  #isClosed = false;

  private constructor(
    path: string,
    contents: JournalContents,
    onWarning: (message: string) => void,
    { compactAboveBytes = 2 ** 20, disk = nodeJournalDisk }: JournalOptions,
  ) {
    this.#path = path;
    this.#onWarning = onWarning;
    this.#compactAboveBytes = compactAboveBytes;
    this.#compactAt = compactAboveBytes;
    this.#disk = disk;
    this.#history = contents.history;
    this.#bytes = contents.bytes;
    this.#crc = contents.crc;
    this.#isWhole = contents.isWhole;
  }

  /**
   * Opens the journal of a run to continue it. If nothing can be recovered (no journal, a run that ended, or damage, which gives a
   * warning), the first record must be a `run`, which replaces the old contents.
   * @throws PeerError if the journal exists but cannot be read: it may hold state that the run needs
   */
  static open(
    path: string,
    onWarning: (message: string) => void,
    options: JournalOptions = {},
  ): { journal: Journal; recovered: Recovered | undefined } {
    const file = readIfThere(path);
    removeQuietly(options.disk ?? nodeJournalDisk, besideOf(path));
    const contents = 'problem' in file ? file : readContents(file);
    if ('problem' in contents) {
      onWarning(`${path} is damaged and not used: ${contents.problem}. The run can be resumed from a checkpoint.`);
    } else {
      const recovered = recoveredFrom(contents.history);
      if (recovered !== undefined) return { journal: new Journal(path, contents, onWarning, options), recovered };
    }
    return { journal: Journal.create(path, onWarning, options), recovered: undefined };
  }

  /** Starts a new journal. The first record, a `run`, replaces the old contents; until then nothing changes. */
  static create(path: string, onWarning: (message: string) => void, options: JournalOptions = {}): Journal {
    return new Journal(path, { history: undefined, bytes: 0, crc: 0, isWhole: false }, onWarning, options);
  }

  /** Throws only for a record that cannot follow. A write error gives one warning, and the run continues. */
  append(record: JournalRecord): void {
    const problem = this.#isClosed ? 'it is closed' : misplaced(this.#history, record);
    if (problem !== undefined) throw new InvariantError(`a record for ${this.#path} cannot be written: ${problem}`);
    this.#history = follow(this.#history, record);
    try {
      const { line, crc } = encodeLine(record, this.#crc);
      const bytes = Buffer.from(line);
      if (!this.#isWhole || this.#bytes + bytes.length > this.#compactAt) {
        this.#rewrite(this.#history);
      } else {
        this.#add(bytes, crc);
        if (record.kind === 'commit') this.#syncSoon();
        else this.#disk.sync(this.#open());
      }
    } catch (error) {
      this.#refused(record, error);
    }
  }

  /** The coordinator is at another place from now on: rewrites the file. A write error is like that of a commit: the file is only older. */
  relocate(place: Pick<Recovered, 'address' | 'advertise'>): void {
    invariant(this.#history !== undefined && !this.#isClosed, 'a journal without a run has no place');
    const { advertise, ...run } = { ...this.#history.run, ...place };
    this.#history = { ...this.#history, run: { ...run, ...(advertise !== undefined && { advertise }) } };
    try {
      this.#rewrite(this.#history);
    } catch (error) {
      this.#isWhole = false;
      this.#warn(error);
    }
  }

  async flush(): Promise<void> {
    await this.#syncing;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
    if (this.#descriptor !== undefined) closeQuietly(this.#disk, this.#descriptor);
    this.#descriptor = undefined;
  }

  #open(): number {
    this.#descriptor ??= this.#disk.open(this.#path);
    return this.#descriptor;
  }

  #add(bytes: Uint8Array, crc: number): void {
    writeFully(this.#disk, this.#open(), bytes);
    this.#bytes += bytes.length;
    this.#crc = crc;
  }

  /** Writes what the history needs into a new file and puts it in place, all of it durable. */
  #rewrite(history: JournalHistory): void {
    const beside = besideOf(this.#path);
    let crc = 0;
    const lines = compacted(history).map((record) => {
      const encoded = encodeLine(record, crc);
      crc = encoded.crc;
      return encoded.line;
    });
    const bytes = Buffer.from(lines.join(''));
    const descriptor = this.#disk.create(beside);
    try {
      writeFully(this.#disk, descriptor, bytes);
      this.#disk.sync(descriptor);
      this.#disk.rename(beside, this.#path);
    } catch (error) {
      closeQuietly(this.#disk, descriptor);
      removeQuietly(this.#disk, beside);
      throw error;
    }
    if (this.#descriptor !== undefined) this.#retired.push(this.#descriptor);
    if (this.#syncing === undefined) this.#closeRetired();
    this.#descriptor = descriptor;
    this.#bytes = bytes.length;
    this.#crc = crc;
    this.#isWhole = true;
    this.#compactAt = Math.max(this.#compactAboveBytes, 2 * bytes.length);
    this.#disk.syncFolderOf(this.#path);
  }

  /**
   * Makes the next record rewrite the file. Until then it may lack the newest commits, which workers can prove. A file that lacks any
   * other record would be wrong, so it is emptied.
   */
  #refused({ kind }: JournalRecord, error: unknown): void {
    this.#isWhole = false;
    if (kind !== 'commit') this.#bytes = 0;
    try {
      this.#disk.truncate(this.#path, this.#bytes);
    } catch {
      // A torn line at the end is harmless: only an outdated file must be removed.
      if (kind !== 'commit') this.#discard();
    }
    this.#warn(error);
  }

  #discard(): void {
    try {
      this.#disk.remove(this.#path);
    } catch (error) {
      this.#onWarning(`${this.#path} is outdated and could not be removed: ${messageOf(error)}. Remove it by hand.`);
    }
  }

  #warn(error: unknown): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#onWarning(
      `cannot write ${this.#path}: ${messageOf(error)}; the run continues, but until it can be written, a coordinator ` +
        'that dies is resumed from an earlier step or a checkpoint',
    );
  }

  /** One sync at a time: the next one covers records appended meanwhile. */
  #syncSoon(): void {
    this.#isDirty = true;
    this.#syncing ??= this.#syncWhileDirty();
  }

  async #syncWhileDirty(): Promise<void> {
    while (this.#isDirty) {
      this.#isDirty = false;
      const descriptor = this.#open();
      try {
        await this.#disk.syncInBackground(descriptor);
      } catch (error) {
        // What the system could not write it may have forgotten: nothing but a new file is sure to hold it.
        if (descriptor === this.#descriptor) this.#isWhole = false;
        this.#warn(error);
      }
      this.#closeRetired();
    }
    this.#syncing = undefined;
  }

  #closeRetired(): void {
    for (const descriptor of this.#retired.splice(0)) closeQuietly(this.#disk, descriptor);
  }
}

function writeFully(disk: JournalDisk, descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    const taken = disk.write(descriptor, bytes.subarray(done));
    if (taken === 0) throw new PeerError(`the disk took ${done} of ${bytes.length} bytes`);
    done += taken;
  }
}

/** What matters was synced before. */
function closeQuietly(disk: JournalDisk, descriptor: number): void {
  try {
    disk.close(descriptor);
  } catch {
    // The system has closed it in any case.
  }
}

/** Where the file is rewritten. */
function besideOf(path: string): string {
  return `${path}.new`;
}

/** What is left is removed, or written over, another time. */
function removeQuietly(disk: JournalDisk, path: string): void {
  try {
    disk.remove(path);
  } catch {
    // It is harmless: nothing reads it.
  }
}

function readIfThere(path: string): Buffer | { readonly problem: string } {
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw new PeerError('it is not a regular file');
    if (stat.size > fileBytesMax) return { problem: `expected at most ${fileBytesMax} bytes, received ${stat.size}` };
    return readFileSync(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return Buffer.alloc(0);
    throw new PeerError(`cannot read ${path}: ${messageOf(error)}`);
  }
}
