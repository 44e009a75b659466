/**
 * The checkpoints of a run as objects of a store, below a prefix: the files of a folder on a disk, with the same names and bytes. A store cannot
 * rename, so `manifest.json` is written last, and only what has one is a checkpoint. It is deleted first. No object is ever written twice: the
 * second checkpoint of a step gets a folder of its own, `step-00000100.2`, and then the first is removed.
 */
import type { OutputFile } from '../base/diskOperations.ts';
import { messageOf, PeerError } from '../base/errors.ts';
import { inFolder, objectPath } from '../base/objectPath.ts';
import { fateOfWord, placeWord, processWord } from '../base/processes.ts';
import { openBucket } from '../objectStore/buckets.ts';
import type { BucketClient } from '../objectStore/client.ts';
import {
  abortUpload,
  deleteObject,
  headObject,
  type ListedObject,
  listObjects,
  listUploads,
  type OpenUpload,
  uploadChangedMs,
} from '../objectStore/objects.ts';
import { ObjectUpload, PartBuffers, partBytesFor } from '../objectStore/upload.ts';
import type { CheckpointDraft, CheckpointPlace, PlacedCheckpoint, Warn } from './checkpointPlace.ts';
import { FOREIGN_WRITER_IDLE_MS, stepFolderName, stepOfFolderName } from './folderNames.ts';
import { MANIFEST_FILE } from './manifest.ts';

/** The step, and the number of its folder from the second on. */
const FOLDER_NAME = /^(step-\d{8,15})(?:\.([2-9]|[1-9]\d{1,3}))?$/;
/** Metadata of every object: who wrote it. */
const WRITER = 'lockstep-writer';

/** Folders that this process writes. */
const ownFolders = new Set<string>();

/** One folder of objects. */
interface StoredFolder {
  readonly name: string;
  readonly step: number;
  readonly number: number;
  readonly objects: ListedObject[];
  readonly isWhole: boolean;
}

/**
 * @param directory `s3://BUCKET/PREFIX`
 * @param partBytes the size of a part of an upload; default 16 MiB
 */
export function objectCheckpoints(directory: string, warn: Warn, partBytes?: number): CheckpointPlace {
  const { client, key: prefix } = openBucket(directory);
  const place = { client, prefix, warn, partBytes };
  return {
    async list() {
      const newest = new Map<number, StoredFolder>();
      for (const folder of await foldersOf(place)) {
        const other = newest.get(folder.step);
        if (folder.isWhole && (other === undefined || other.number < folder.number)) newest.set(folder.step, folder);
      }
      return [...newest.values()]
        .map(({ step, name }): PlacedCheckpoint => ({ step, path: inFolder(directory, name) }))
        .sort((a, b) => b.step - a.step);
    },
    draft: (step) => new ObjectDraft(place, step),
    // A bucket has no size.
    roomProblem: async () => undefined,
    remove: ({ step }) => removeStep(place, step),
    // Readers see nothing of dead writers. Who only reads may have the wrong prefix, so the next writer removes what they left.
    recover: async () => undefined,
  };
}

interface Place {
  readonly client: BucketClient;
  readonly prefix: string;
  readonly warn: Warn;
  readonly partBytes: number | undefined;
}

class ObjectDraft implements CheckpointDraft {
  readonly #place: Place;
  readonly #step: number;
  #name: string;
  #isVisible = false;
  #replaced: readonly string[] = [];
  #last: ObjectUpload | undefined;
  readonly #buffers = new PartBuffers();

  constructor(place: Place, step: number) {
    this.#place = place;
    this.#step = step;
    this.#name = stepFolderName(step);
  }

  get path(): string {
    return objectPath({ bucket: this.#place.client.bucket, key: keyIn(this.#place, this.#name) });
  }

  get isVisible(): boolean {
    return this.#isVisible;
  }

  async begin(): Promise<void> {
    // Again and again: those of a machine that has gone are removed when they are an hour old.
    await recover(this.#place);
    const all = await foldersOf(this.#place, stepFolderName(this.#step));
    const before = all.filter(({ step }) => step === this.#step);
    const number = 1 + Math.max(0, ...before.map((folder) => folder.number));
    this.#name = number === 1 ? this.#name : `${this.#name}.${number}`;
    this.#replaced = before.filter(({ isWhole }) => isWhole).map(({ name }) => name);
    ownFolders.add(this.path);
  }

  async createFile(name: string, bytes: number): Promise<OutputFile> {
    const { client, partBytes } = this.#place;
    const key = keyIn(this.#place, this.#name, name);
    const upload = new ObjectUpload(
      client,
      key,
      { [WRITER]: ownWord() },
      partBytesFor(bytes, partBytes),
      this.#buffers,
    );
    this.#last = upload;
    const sync = async () => {
      await this.#checkUnpublished();
      await upload.sync();
    };
    return { write: (part) => upload.write(part), sync, close: () => upload.close() };
  }

  /** A process that was frozen for long may wake when another has taken over, and has written the checkpoint. */
  async #checkUnpublished(): Promise<void> {
    const manifest = await headObject(this.#place.client, keyIn(this.#place, this.#name, MANIFEST_FILE));
    if (manifest !== undefined) throw new PeerError(`another process has written ${this.path} meanwhile`);
  }

  /** The manifest has made it visible. */
  async publish(): Promise<void> {
    this.#isVisible = true;
    ownFolders.delete(this.path);
    for (const name of this.#replaced) await removeFolder(this.#place, name).catch(() => undefined); // removed with its step
  }

  async discard(): Promise<void> {
    try {
      // A manifest whose writing failed may be there all the same.
      await this.#last?.close();
      const place = { ...this.#place, client: this.#place.client.once() };
      if (!(await isOwnFolder(place, this.#name))) return;
      await abortUploads(place, this.#name);
      await removeFolder(place, this.#name);
    } catch {
      // The store cannot be reached. The next writer removes the leftovers, which have no manifest.
    } finally {
      ownFolders.delete(this.path);
    }
  }
}

/** The name of this process in the metadata of what it writes. */
function ownWord(): string {
  return `${placeWord()} ${process.pid} ${processWord()}`;
}

/** Whether no other process has written an object there. */
async function isOwnFolder(place: Place, name: string): Promise<boolean> {
  for await (const { key } of listObjects(place.client, keyIn(place, name, ''))) {
    if ((await headObject(place.client, key))?.metadata[WRITER] !== ownWord()) return false;
  }
  return true;
}

function keyIn({ prefix }: Place, ...names: readonly string[]): string {
  return [...(prefix === '' ? [] : [prefix]), ...names].join('/');
}

/** The folders whose names begin with `start`. */
async function foldersOf(place: Place, start = 'step-'): Promise<StoredFolder[]> {
  const found = new Map<string, ListedObject[]>();
  const prefix = keyIn(place, '');
  for await (const object of listObjects(place.client, keyIn(place, start))) {
    const [name = '', file, ...more] = object.key.slice(prefix.length).split('/');
    if (file === undefined || more.length > 0) continue;
    found.set(name, [...(found.get(name) ?? []), object]);
  }
  return [...found].flatMap(([name, objects]): StoredFolder[] => {
    const [, stepName, number] = FOLDER_NAME.exec(name) ?? [];
    const step = stepName === undefined ? undefined : stepOfFolderName(stepName);
    if (step === undefined) return [];
    const isWhole = objects.some(({ key }) => key.endsWith(`/${MANIFEST_FILE}`));
    return [{ name, step, number: Number(number ?? 1), objects, isWhole }];
  });
}

/** All folders of the step, older ones first: a kill in between leaves the newest. */
async function removeStep(place: Place, step: number): Promise<void> {
  const folders = (await foldersOf(place, stepFolderName(step))).filter((each) => each.step === step && each.isWhole);
  for (const { name } of folders.sort((a, b) => a.number - b.number)) await removeFolder(place, name);
}

/** Its manifest first, so that no half-deleted folder counts as a checkpoint. */
async function removeFolder(place: Place, name: string): Promise<void> {
  const { client } = place;
  await deleteObject(client, keyIn(place, name, MANIFEST_FILE));
  for await (const { key } of listObjects(client, keyIn(place, name, ''))) await deleteObject(client, key);
}

async function abortUploads(place: Place, name: string): Promise<void> {
  const { client } = place;
  for (const { key, id } of await listUploads(client, keyIn(place, name, ''))) await abortUpload(client, key, id);
}

/**
 * Removes folders without a manifest, and open uploads, whose writer has ended; one on another machine when it has been idle for an hour. Also
 * what a second checkpoint of the same step has replaced.
 */
async function recover(place: Place): Promise<void> {
  const { client } = place;
  try {
    const all = await foldersOf(place);
    const folders = all.filter(({ isWhole }) => !isWhole);
    for (const { name, step, number } of all.filter(({ isWhole }) => isWhole)) {
      const isReplaced = all.some((other) => other.isWhole && other.step === step && other.number > number);
      if (isReplaced) await removeFolder(place, name);
    }
    const uploads = await listUploads(client, keyIn(place, 'step-'));
    const names = new Set([
      ...folders.map(({ name }) => name),
      ...uploads.map(({ key }) => key.split('/').at(-2) ?? ''),
    ]);
    for (const name of names) {
      if (!FOLDER_NAME.test(name) || ownFolders.has(client.pathOf(keyIn(place, name)))) continue;
      const objects = folders.find((folder) => folder.name === name)?.objects ?? [];
      const started = uploads.filter(({ key }) => key.startsWith(keyIn(place, name, '')));
      if (!(await isAbandoned(client, objects, started))) continue;
      await abortUploads(place, name);
      if (objects.length > 0) await removeFolder(place, name);
    }
  } catch (error) {
    place.warn(`what a killed writer left in ${client.pathOf(place.prefix)} could not be removed: ${messageOf(error)}`);
  }
}

/** The process that wrote the first object has ended; if it cannot be asked, since nothing has arrived for an hour. */
async function isAbandoned(
  client: BucketClient,
  objects: readonly ListedObject[],
  uploads: readonly OpenUpload[],
): Promise<boolean> {
  const [first] = objects;
  const writer = first && (await headObject(client, first.key))?.metadata[WRITER];
  const [where, pid, word] = writer?.split(' ') ?? [];
  if (where === placeWord() && pid !== undefined && word !== undefined) {
    if (Number(pid) === process.pid && word === processWord()) return true;
    return fateOfWord(Number(pid), word) === 'gone';
  }
  const changed = await Promise.all(uploads.map((upload) => uploadChangedMs(client, upload)));
  const newest = Math.max(...objects.map(({ changedMs }) => changedMs), ...changed.map((ms) => ms ?? 0));
  return Date.now() - newest > FOREIGN_WRITER_IDLE_MS;
}
