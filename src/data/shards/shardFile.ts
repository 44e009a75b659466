/** Files of tokens: on a disk, or in an object store, from which they are read through a cache on the disk. */
import { closeSync, fstatSync, openSync, read, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { InvariantError, UserError } from '../../base/errors.ts';
import { inFolder } from '../../base/objectPath.ts';
import { damaged, readFailure } from '../../base/strictJson.ts';
import { openBucket } from '../../objectStore/buckets.ts';
import { CachedObject } from '../../objectStore/cachedObject.ts';
import { cacheFolder } from '../../objectStore/cacheFolder.ts';
import type { BucketClient } from '../../objectStore/client.ts';
import { getRange, headObject } from '../../objectStore/objects.ts';
import { PIECES_SUFFIX } from '../../objectStore/pieceHashes.ts';
import { RangeCache } from '../../objectStore/rangeCache.ts';
import { SHARD_HEADER_BYTES } from './shardFormat.ts';
import type { ShardEntry, ShardManifest } from './shardManifest.ts';

const readPromise = promisify(read);

/** A file that is open for reading. All reads fill `into` from `position` on. */
export interface ShardFile {
  readonly path: string;
  readonly bytes: number;
  /** @throws UserError if the file ends before, PeerError when the disk or the store fails */
  readSync(into: Uint8Array, position: number): void;
  /** @throws as {@link readSync} */
  read(into: Uint8Array, position: number): Promise<void>;
  /** Begins to fetch these bytes, so that a later read finds them; absent where that is not needed. */
  readonly prefetch?: (from: number, to: number) => void;
  close(): void;
}

/** @throws UserError if it is missing or not a file */
export function openShardFile(path: string): ShardFile {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw readFailure(path, error);
  }
  return {
    path,
    bytes: fstatSync(fd).size,
    readSync: (into, position) => readFullySync({ fd, path }, into, position),
    read: (into, position) => readFullyAsync({ fd, path }, into, position),
    close: () => closeSync(fd),
  };
}

async function readFullyAsync(
  { fd, path }: { fd: number; path: string },
  into: Uint8Array,
  position: number,
): Promise<void> {
  for (let filled = 0; filled < into.length; ) {
    const { bytesRead } = await readPromise(fd, into, filled, into.length - filled, position + filled).catch(
      (error: unknown) => {
        throw readFailure(path, error);
      },
    );
    if (bytesRead === 0) throw damaged(path, `it ends at byte ${position + filled}`);
    filled += bytesRead;
  }
}

function readFullySync({ fd, path }: { fd: number; path: string }, into: Uint8Array, position: number): void {
  for (let filled = 0; filled < into.length; ) {
    let bytesRead: number;
    try {
      bytesRead = readSync(fd, into, filled, into.length - filled, position + filled);
    } catch (error) {
      throw readFailure(path, error);
    }
    if (bytesRead === 0) throw damaged(path, `it ends at byte ${position + filled}`);
    filled += bytesRead;
  }
}

/** Ranges of data that fits into the cache, and of data that does not: then a range is hardly used twice. */
const usualRangeBytes = 8 * 2 ** 20;
const smallRangeBytes = 2 ** 16;
const gibibyte = 2 ** 30;
/** Objects that are looked up at the same time. */
const lookupsMost = 16;

let caches = new Map<string, RangeCache>();

/** The cache in the user's folder for such files. */
function cacheFor(bytes: number, cacheGiB: number): RangeCache {
  const folder = cacheFolder('shards');
  const bytesMax = cacheGiB * gibibyte;
  const rangeBytes = bytes <= bytesMax ? usualRangeBytes : smallRangeBytes;
  const identity = `${folder} ${bytesMax} ${rangeBytes}`;
  const cache = caches.get(identity) ?? new RangeCache({ folder, bytesMax, rangeBytes });
  caches = caches.set(identity, cache);
  return cache;
}

/**
 * The shards of a prefix, with their headers, by name.
 * @param cacheGiB undefined: every read is a request, and nothing is kept
 * @param note told once if samples cannot be verified
 * @throws UserError for one that is missing
 */
export async function openShardObjects(
  folder: string,
  manifest: ShardManifest,
  cacheGiB: number | undefined,
  note: (line: string) => void = () => {},
): Promise<Map<string, { file: ShardFile; header: Buffer }>> {
  const { client, key: prefix } = openBucket(folder);
  const { shards, tokenBytes, tokenizer } = manifest;
  const total = shards.reduce((sum, { tokens }) => sum + SHARD_HEADER_BYTES + tokens * tokenBytes, 0);
  const cache = cacheGiB === undefined ? undefined : cacheFor(total, cacheGiB);
  let isVerified = true;
  const found = new Map<string, { file: ShardFile; header: Buffer }>();
  const openOne = async ({ name, sha256 }: ShardEntry) => {
    const key = prefix === '' ? name : `${prefix}/${name}`;
    const [facts, pieces] = await Promise.all([
      headObject(client, key),
      cache && headObject(client, `${key}${PIECES_SUFFIX}`),
    ]);
    if (facts === undefined) throw new UserError(`${inFolder(folder, name)} is missing`);
    const { bytes, tag } = facts;
    const end = Math.min(bytes, SHARD_HEADER_BYTES);
    const header = (await getRange(client, key, { start: 0, end, tag })) ?? Buffer.alloc(0);
    const expected = { sha256, skip: SHARD_HEADER_BYTES, kind: tokenizer.sha256 };
    const file =
      cache === undefined
        ? uncachedFile(client, { key, bytes, tag })
        : cachedFile(new CachedObject(cache, client, { key, bytes, tag, expected, piecesTag: pieces?.tag }));
    isVerified &&= cache?.rangeBytes !== smallRangeBytes || pieces !== undefined;
    found.set(name, { file, header });
  };
  for (let from = 0; from < shards.length; from += lookupsMost) {
    await Promise.all(shards.slice(from, from + lookupsMost).map(openOne));
  }
  if (!isVerified) {
    note(
      `${folder} is larger than data.cacheGiB: ${cacheGiB} and has no hashes of pieces, so its samples are not verified: prepare it with this version, or raise data.cacheGiB`,
    );
  }
  return found;
}

function cachedFile(object: CachedObject): ShardFile {
  return {
    path: object.path,
    bytes: object.bytes,
    readSync: (into, position) => object.readSync(into, position),
    read: (into, position) => object.read(into, position),
    prefetch: (from, to) => object.prefetch(from, to),
    close() {},
  };
}

function uncachedFile(
  client: BucketClient,
  { key, bytes, tag }: { key: string; bytes: number; tag: string },
): ShardFile {
  const path = client.pathOf(key);
  return {
    path,
    bytes,
    readSync: () => {
      throw new InvariantError(`${path} is not in a cache, so it cannot be read while this process waits`);
    },
    async read(into, position) {
      const end = position + into.length;
      if (end > bytes) throw damaged(path, `it ends at byte ${bytes}`);
      const found = await getRange(client, key, { start: position, end, tag });
      if (found === undefined) throw damaged(path, 'it was removed while it was read');
      into.set(found);
    },
    close() {},
  };
}
