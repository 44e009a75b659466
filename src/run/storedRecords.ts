/**
 * What a run has written about itself, kept beside its checkpoints in an object store: `run/config.yaml`, and `metrics.jsonl` and `events.jsonl` in parts,
 * since a store cannot append. A coordinator begins a new edition of a file with all that it has, and adds the new lines as further parts;
 * then older editions are removed. The newest edition that has its first part is the file.
 */
import { open, rm } from 'node:fs/promises';
import { nodeDisk } from '../base/diskOperations.ts';
import { errorCode } from '../base/errors.ts';
import { inFolder } from '../base/objectPath.ts';
import { readFully } from '../base/wholeFiles.ts';
import { openBucket } from '../objectStore/buckets.ts';
import type { BucketClient } from '../objectStore/client.ts';
import { deleteObject, listObjects, putObject } from '../objectStore/objects.ts';
import { copyBytes, openStored } from '../objectStore/storedFiles.ts';
import { ObjectUpload, partBytesFor } from '../objectStore/upload.ts';
import type { RunFolder } from './runFolder.ts';

/** The files that grow. */
const kinds = ['metrics', 'events'] as const;
type Kind = (typeof kinds)[number];

/** Below the prefix of the checkpoints. */
export const RECORDS_FOLDER = 'run';
const PART_NAME = /^(metrics|events)-(\d{6})-(\d{6})\.jsonl$/;
const pieceBytes = 2 ** 20;

interface Part {
  readonly key: string;
  readonly kind: Kind;
  readonly edition: number;
  readonly number: number;
}

/** The edition of a file that this process writes. */
interface Edition {
  readonly edition: number;
  /** Parts so far. */
  parts: number;
  /** Bytes of the file in them. */
  bytes: number;
}

/** What the store has of an earlier run directory. */
export interface Restored {
  /** Whether it has any records. */
  readonly hasAny: boolean;
  /** The path of the first part of each file that is missing although there is a later one. */
  readonly missing: readonly string[];
}

export class StoredRecords {
  readonly #client: BucketClient;
  readonly #prefix: string;
  readonly #folder: RunFolder;
  readonly #editions = new Map<Kind, Edition>();
  /** The highest edition of each that was begun by anyone. */
  readonly #newest = new Map<Kind, number>();
  /** How often the metrics were rewound. */
  #rewinds = 0;
  #keeping: Promise<void> = Promise.resolve();

  /** @param directory `s3://BUCKET/PREFIX` of the checkpoints */
  constructor(directory: string, folder: RunFolder) {
    const { client, key } = openBucket(inFolder(directory, RECORDS_FOLDER));
    this.#client = client;
    this.#prefix = `${key}/`;
    this.#folder = folder;
  }

  async keepConfig(text: string): Promise<void> {
    await putObject(this.#client, `${this.#prefix}config.yaml`, Buffer.from(text));
  }

  /** Uploads the complete lines that were added since the last call. @throws as {@link BucketClient.send} */
  keep(): Promise<void> {
    const kept = this.#keeping.then(async () => {
      for (const kind of kinds) await this.#keepOne(kind);
    });
    this.#keeping = kept.catch(() => undefined);
    return kept;
  }

  /** Lines were dropped from the metrics: the next part begins a new edition. */
  rewound(): void {
    this.#rewinds += 1;
    this.#editions.delete('metrics');
  }

  /** Writes the files of an earlier run directory, each up to the first part that is missing. @param wanted default both */
  async restore(wanted: readonly Kind[] = kinds): Promise<Restored> {
    const all = await this.#parts();
    const missing: string[] = [];
    for (const kind of wanted) {
      const parts = newestEdition(all.filter((part) => part.kind === kind));
      const gap = parts.findIndex(({ number }, i) => number !== i);
      const whole = gap < 0 ? parts : parts.slice(0, gap);
      const [next] = parts.slice(gap);
      if (gap >= 0 && next !== undefined) missing.push(this.#client.pathOf(this.#keyOf(kind, { ...next, parts: gap })));
      if (whole.length > 0) await this.#restoreOne(this.#pathOf(kind), whole);
    }
    return { hasAny: all.length > 0, missing };
  }

  async #restoreOne(path: string, parts: readonly Part[]): Promise<void> {
    await rm(path, { force: true });
    const file = await nodeDisk.createFile(path);
    try {
      for (const { key } of parts) {
        const object = await openStored(this.#client.pathOf(key));
        try {
          await copyBytes(object, file, { to: object.bytes });
        } finally {
          await object.close();
        }
      }
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async #keepOne(kind: Kind): Promise<void> {
    const path = this.#pathOf(kind);
    const file = await open(path, 'r').catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (file === undefined) return;
    const rewinds = this.#rewinds;
    try {
      const { size } = await file.stat();
      let edition = this.#editions.get(kind);
      const isNew = edition === undefined || edition.bytes > size;
      if (edition === undefined || isNew) {
        const number = 1 + (this.#newest.get(kind) ?? (await this.#newestOf(kind)));
        this.#newest.set(kind, number);
        edition = { edition: number, parts: 0, bytes: 0 };
      }
      const read = (into: Uint8Array, at: number) => readFully(file, into, at, path);
      const end = await endOfLines(read, edition.bytes, size);
      if (end === edition.bytes) return;
      await this.#upload(this.#keyOf(kind, edition), read, { from: edition.bytes, to: end });
      edition.parts += 1;
      edition.bytes = end;
      if (!isNew) return;
      // Rewound meanwhile: the next lines of the file do not continue this edition.
      if (kind !== 'metrics' || rewinds === this.#rewinds) this.#editions.set(kind, edition);
      for (const part of await this.#parts()) {
        if (part.kind === kind && part.edition < edition.edition) await deleteObject(this.#client, part.key);
      }
    } finally {
      await file.close();
    }
  }

  async #upload(key: string, read: Read, { from, to }: { from: number; to: number }): Promise<void> {
    const object = new ObjectUpload(this.#client, key, {}, partBytesFor(to - from));
    try {
      await copyBytes({ read }, object, { from, to });
      await object.sync();
    } finally {
      await object.close();
    }
  }

  async #newestOf(kind: Kind): Promise<number> {
    const parts = (await this.#parts()).filter((part) => part.kind === kind);
    return Math.max(0, ...parts.map(({ edition }) => edition));
  }

  async #parts(): Promise<Part[]> {
    const parts: Part[] = [];
    for await (const { key } of listObjects(this.#client, this.#prefix)) {
      const [, kind, edition, number] = PART_NAME.exec(key.slice(this.#prefix.length)) ?? [];
      if (kind !== undefined) parts.push({ key, kind: kind as Kind, edition: Number(edition), number: Number(number) });
    }
    return parts;
  }

  #pathOf(kind: Kind): string {
    return kind === 'metrics' ? this.#folder.metricsPath : this.#folder.eventsPath;
  }

  #keyOf(kind: Kind, { edition, parts }: Pick<Edition, 'edition' | 'parts'>): string {
    return `${this.#prefix}${kind}-${String(edition).padStart(6, '0')}-${String(parts).padStart(6, '0')}.jsonl`;
  }
}

type Read = (into: Uint8Array, at: number) => Promise<void>;

/** The end of the last complete line between two positions; `from` if there is none. */
async function endOfLines(read: Read, from: number, size: number): Promise<number> {
  for (let to = size; to > from; ) {
    const piece = new Uint8Array(Math.min(pieceBytes, to - from));
    await read(piece, to - piece.length);
    const found = piece.lastIndexOf(10);
    if (found >= 0) return to - piece.length + found + 1;
    to -= piece.length;
  }
  return from;
}

/** The parts of the newest edition that has its first, in order; of the newest of all if none has. */
function newestEdition(parts: readonly Part[]): Part[] {
  const first = parts.filter(({ number }) => number === 0);
  const newest = Math.max(...(first.length > 0 ? first : parts).map(({ edition }) => edition));
  return parts.filter(({ edition }) => edition === newest).sort((a, b) => a.number - b.number);
}
