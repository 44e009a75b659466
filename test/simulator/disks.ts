/** What survives a crash: the journal, with its real lines, and checkpoints that are complete or absent. */
import { stateParts } from '../../src/base/stateParts.ts';
import type { CheckpointContents } from '../../src/checkpoint/writer.ts';
import type { StateStore, StoredState } from '../../src/coordinator/checkpointer.ts';
import type { JournalSink } from '../../src/records/journal.ts';
import {
  encodeLine,
  follow,
  type JournalHistory,
  type JournalRecord,
  misplaced,
  type Recovered,
  readContents,
  recoveredFrom,
} from '../../src/records/journalRecords.ts';
import { partLengths, type Reference } from './reference.ts';
import type { SimProcess, World } from './world.ts';

/** How soon a commit is safe from a power cut. */
const syncMs = 15;

export class JournalFile {
  #lines: { readonly line: string; readonly record: JournalRecord; readonly atMs: number }[] = [];
  /** Steps whose commit a power cut has taken. */
  readonly lostSteps = new Set<number>();
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  recovered(): Recovered | undefined {
    return recoveredFrom(this.#read().history);
  }

  /** Commits that were not synced are lost. */
  cutPower(): void {
    for (;;) {
      const last = this.#lines.at(-1);
      if (last?.record.kind !== 'commit' || last.atMs <= this.#world.nowMs - syncMs) return;
      this.lostSteps.add(last.record.step);
      this.#lines.pop();
    }
  }

  /** @param isNew the first record replaces the present records */
  open(isNew: boolean, onRecord: (record: JournalRecord) => void): JournalSink {
    let { history, crc }: { history: JournalHistory | undefined; crc: number } = isNew
      ? { history: undefined, crc: 0 }
      : this.#read();
    if (isNew) this.#lines = [];
    return {
      append: (record) => {
        const problem = misplaced(history, record);
        if (problem !== undefined) throw new Error(`a record that cannot come here: ${problem}`);
        history = follow(history, record);
        const encoded = encodeLine(record, crc);
        crc = encoded.crc;
        if (record.kind === 'commit') this.lostSteps.delete(record.step);
        this.#lines.push({ line: encoded.line, record, atMs: this.#world.nowMs });
        onRecord(record);
      },
      flush: async () => {},
      close: async () => {},
    };
  }

  #read() {
    const contents = readContents(Buffer.from(this.#lines.map(({ line }) => line).join('')));
    if ('problem' in contents) throw new Error(`the journal cannot be read: ${contents.problem}`);
    return contents;
  }
}

export class CheckpointDisk {
  readonly #world: World;
  readonly #reference: Reference;
  readonly #whole = new Map<number, { contents: CheckpointContents; state: Uint8Array }>();

  constructor(world: World, reference: Reference) {
    this.#world = world;
    this.#reference = reference;
  }

  get newestStep(): number {
    return Math.max(0, ...this.#whole.keys());
  }

  newest(): StoredState | undefined {
    const newest = this.#whole.get(this.newestStep);
    if (newest === undefined) return undefined;
    const { contents, state } = newest;
    return {
      trainer: contents.trainer,
      async *stream(part) {
        const index = stateParts.indexOf(part);
        const from = partLengths.slice(0, index).reduce((sum, length) => sum + length, 0);
        yield state.slice(4 * from, 4 * (from + partLengths[index]!));
      },
    };
  }

  storeOf(process: SimProcess): StateStore {
    const takes = (ms: number) =>
      new Promise<void>((resolve) => void process.after(this.#world.random.between(0, ms), resolve));
    return {
      newestWhole: async () => {
        await takes(10);
        const checkpoint = this.newest();
        return checkpoint && { checkpoint };
      },
      beginWrite: async (contents) => {
        await takes(5);
        const chunks: Uint8Array[] = [];
        return {
          write: async (chunk) => {
            chunks.push(chunk.slice());
            await takes(20);
          },
          commit: async () => {
            await takes(50);
            const state = new Uint8Array(Buffer.concat(chunks));
            const { step } = contents.trainer;
            if (!this.#reference.isState(step, new Float32Array(state.slice().buffer))) {
              this.#world.wrong(`the checkpoint of step ${step} does not hold the state of that step`);
            }
            this.#whole.set(step, { contents, state });
            return `step-${step}`;
          },
          abort: async () => {},
        };
      },
    };
  }
}
