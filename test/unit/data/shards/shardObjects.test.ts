/** Prepared data in an object store, and the cache through which it is read. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { openDataset } from '../../../../src/data/openDataset.ts';
import { inThisThread } from '../../../../src/data/prepare/encodePool.ts';
import { prepareShards } from '../../../../src/data/prepare/prepareShards.ts';
import { findSources } from '../../../../src/data/prepare/sources.ts';
import { createTokenizer } from '../../../../src/data/tokenizers/openTokenizer.ts';
import { openBucket } from '../../../../src/objectStore/buckets.ts';
import { CachedObject } from '../../../../src/objectStore/cachedObject.ts';
import { headObject } from '../../../../src/objectStore/objects.ts';
import { encodePieces } from '../../../../src/objectStore/pieceHashes.ts';
import { RangeCache } from '../../../../src/objectStore/rangeCache.ts';
import { RecentPieces } from '../../../../src/objectStore/recentPieces.ts';
import { sha256Of } from '../../../../src/objectStore/signature.ts';
import { temporaryFolder } from '../../checkpoint/tinyCheckpoint.ts';
import { FakeStore } from '../../objectStore/fakeStore.ts';

const content = Buffer.from(Array.from({ length: 10_000 }, (_, i) => (i * 31) % 251));
const skip = 96;
const sha256 = sha256Of(content.subarray(skip));
const rangeBytes = 1000;

let store: FakeStore;
beforeEach(async () => {
  store = await FakeStore.open();
  store.use();
  store.put('data/shard', content);
});

/** Range requests so far. */
const fetches = () => store.requests.filter((each) => each === 'GET data/shard').length;

async function cached(folder: string, options: { bytesMax?: number; expected?: string } = {}): Promise<CachedObject> {
  const cache = new RangeCache({ folder, bytesMax: options.bytesMax ?? 1e6, rangeBytes });
  const { client, key } = openBucket('s3://bucket/data/shard');
  const expected = { sha256: options.expected ?? sha256, skip, kind: 'test' };
  return new CachedObject(cache, client, {
    key,
    ...(await headObject(client, key))!,
    expected,
    piecesTag: undefined,
  });
}

async function read(object: CachedObject, from: number, to: number): Promise<Buffer> {
  const into = Buffer.alloc(to - from);
  await object.read(into, from);
  return into;
}

function filesIn(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => readdirSync(join(folder, name)));
}

describe('a cached object', () => {
  test('is read from the store once, in ranges, and by a later process not at all', async () => {
    const folder = temporaryFolder();
    const object = await cached(folder);
    expect(await read(object, 990, 3010)).toEqual(content.subarray(990, 3010));
    expect(await read(object, 1500, 1600)).toEqual(content.subarray(1500, 1600));
    expect(fetches()).toBe(4);
    object.prefetch(0, content.length);
    await expect.poll(() => filesIn(folder)).toContain('verified');
    const into = Buffer.alloc(content.length);
    object.readSync(into, 0);
    expect(into).toEqual(content);
    (await cached(folder)).readSync(into, 0);
    expect(fetches()).toBe(10);
  });

  test('is damaged on its way: it is fetched again when it is complete', async () => {
    let damages = 1;
    store.damage = (_, bytes) => (damages-- > 0 ? Buffer.alloc(bytes.length, 7) : bytes);
    const folder = temporaryFolder();
    const object = await cached(folder);
    object.prefetch(0, content.length);
    await expect.poll(() => filesIn(folder)).toContain('verified');
    expect(await read(object, 0, content.length)).toEqual(content);
    expect(fetches()).toBe(20);
  });

  test('is not what its manifest says: reads say so, and name it', async () => {
    const folder = temporaryFolder();
    const object = await cached(folder, { expected: 'ab'.repeat(32) });
    object.prefetch(0, content.length);
    await expect
      .poll(() => read(object, 0, 10).then(() => '', String))
      .toContain(`s3://bucket/data/shard is damaged: its sha256 is ${sha256}, but its manifest says abab`);
    expect(filesIn(folder)).toEqual([]);
  });

  test('is larger than the cache: the ranges that were not used for the longest time are removed', async () => {
    const folder = temporaryFolder();
    const object = await cached(folder, { bytesMax: 3 * rangeBytes });
    for (const index of [0, 1, 2, 0, 3]) await read(object, index * rangeBytes, index * rangeBytes + 5);
    expect(filesIn(folder).sort()).toEqual(['0-1000', '2-1000', '3-1000']);
    await read(object, rangeBytes, rangeBytes + 5);
    expect(fetches()).toBe(5);
    expect(filesIn(folder)).toHaveLength(3);
  });

  test('cannot be fetched: the read says why', async () => {
    const object = await cached(temporaryFolder());
    store.fault = () => 403;
    await expect(read(object, 0, 10)).rejects.toThrow('s3://bucket/data/shard: access denied');
    store.fault = () => undefined;
    expect(await read(object, 0, 10)).toEqual(content.subarray(0, 10));
  });

  test('was cached in part before it had hashes of pieces: these ranges are fetched again', async () => {
    const folder = temporaryFolder();
    const content = Buffer.from(Array.from({ length: 2 ** 16 + 500 }, (_, i) => (i * 31) % 251));
    const sha256 = sha256Of(content);
    store.put('data/large', content);
    const { client, key } = openBucket('s3://bucket/data/large');
    const facts = (await headObject(client, key))!;
    const open = (piecesTag?: string, into = folder) => {
      const cache = new RangeCache({ folder: into, bytesMax: 1e6, rangeBytes: 2 ** 16 });
      return new CachedObject(cache, client, { key, ...facts, expected: { sha256, skip: 0, kind: '' }, piecesTag });
    };
    store.damage = (_, bytes) => Buffer.alloc(bytes.length, 7);
    expect(await read(open(), 0, 10)).toEqual(Buffer.alloc(10, 7));
    store.damage = (_, bytes) => bytes;
    const path = join(folder, 'large');
    writeFileSync(path, content);
    store.put('data/large.pieces', await encodePieces(path, sha256));
    const { tag } = (await headObject(client, 'data/large.pieces'))!;
    expect(await read(open(tag), 0, 10)).toEqual(content.subarray(0, 10));
    store.objects.delete('data/large.pieces');
    await expect(read(open(tag, temporaryFolder()), 0, 10)).rejects.toThrow('large.pieces is damaged: it was removed');
  });
});

test('the hashes of pieces that were used last stay in memory', async () => {
  const fetched: string[] = [];
  const recent = new RecentPieces(2 * 32);
  const get = async (id: string) =>
    await recent.get(id, 10, async () => {
      fetched.push(id);
      if (fetched.length === 6) throw new Error('refused');
      return Buffer.alloc(32);
    });
  for (const id of ['a', 'b', 'a', 'c', 'a', 'b']) await get(id);
  expect(fetched).toEqual(['a', 'b', 'c', 'b']);
  await get('c');
  await expect(get('a')).rejects.toThrow('refused');
  await get('a');
  expect(fetched).toEqual(['a', 'b', 'c', 'b', 'c', 'a', 'a']);
});

test('prepared data in a store is the dataset that it is on a disk, and its tokenizer is found there', async () => {
  const folder = temporaryFolder();
  const local = join(folder, 'toks');
  const before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = folder;
  onTestFinished(() => {
    if (before === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = before;
  });
  await prepareTiny(local);
  for (const name of readdirSync(local)) store.put(`toks/${name}`, readFileSync(join(local, name)));
  const data = { text: 'builtin', tokenizer: 'byte', valFraction: 0.1 } as const;
  const [remote, disk] = await Promise.all(
    ['s3://bucket/toks', local].map((shards) => openDataset({ ...data, shards }, { cwd: folder, blockSize: 8 })),
  );
  expect(remote!.sha256).toBe(disk!.sha256);
  expect(remote!.train.length).toBe(disk!.train.length);
  expect(await remote!.train.read!(5, 90)).toEqual(disk!.train.subarray(5, 90));
  expect(remote!.train.subarray(5, 90)).toEqual(disk!.train.subarray(5, 90));
  expect(disk!.train.prefetch).toBeUndefined();
  const withTokenizer = await openDataset(
    { ...data, tokenizer: 's3://bucket/toks/tokenizer.json' as never },
    { cwd: folder, blockSize: 8 },
  );
  expect(withTokenizer.tokenizerSha256).toBe(disk!.tokenizerSha256);
  await expect(openDataset({ ...data, shards: 's3://bucket/none' }, { cwd: folder })).rejects.toThrow(
    'data.shards: s3://bucket/none has no manifest.json: make it with',
  );
  store.objects.delete('toks/tokens-00000.bin');
  await expect(openDataset({ ...data, shards: 's3://bucket/toks' }, { cwd: folder })).rejects.toThrow(
    's3://bucket/toks/tokens-00000.bin is missing',
  );
});

test('data larger than the cache is verified piece by piece; without hashes of pieces it says once that it is not', async () => {
  const folder = temporaryFolder();
  const before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = folder;
  onTestFinished(() => {
    if (before === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = before;
  });
  const local = join(folder, 'toks');
  await prepareTiny(local, 10_000);
  const shard = 'tokens-00000.bin';
  for (const name of readdirSync(local)) store.put(`toks/${name}`, readFileSync(join(local, name)));
  const notes: string[] = [];
  const open = async () =>
    await openDataset(
      // Less than the data, which no config can say.
      { text: 'builtin', tokenizer: 'byte', valFraction: 0.1, shards: 's3://bucket/toks', cacheGiB: 1e-6 },
      { cwd: folder, blockSize: 8, onNotice: (line) => void notes.push(line) },
    );
  const data = await open();
  const pieces = store.objects.get(`toks/${shard}.pieces`)!;
  expect(pieces.body.length).toBe(48 + 32 * (Math.ceil(readFileSync(join(local, shard)).length / 2 ** 16) + 1));
  expect(notes).toEqual([]);

  const damage = (key: string, bytes: Buffer) => {
    if (!key.endsWith('.bin') || bytes.length < 1_000) return bytes;
    const damaged = Buffer.from(bytes);
    damaged[500]! ^= 1;
    return damaged;
  };
  store.damage = damage;
  await expect(data.train.read!(70_000, 70_009)).rejects.toThrow(
    /toks\/tokens-00000.bin is damaged: bytes \d+ to \d+ differ from their hash/,
  );
  let damages = 1;
  store.damage = (key, bytes) => (damages-- > 0 ? damage(key, bytes) : bytes);
  expect((await data.train.read!(70_000, 70_009)).length).toBe(9);

  store.put(
    `toks/${shard}.pieces`,
    Buffer.concat([pieces.body.subarray(0, 60), Buffer.from('x'), pieces.body.subarray(61)]),
  );
  await expect(open()).rejects.toThrow('its own hash does not match');
  store.objects.delete(`toks/${shard}.pieces`);
  await open();
  expect(notes).toEqual([expect.stringContaining('has no hashes of pieces')]);
});

async function prepareTiny(out: string, repeats = 100): Promise<void> {
  const cwd = join(out, '..');
  writeFileSync(join(cwd, 'text.txt'), 'The quick brown fox. '.repeat(repeats));
  await prepareShards({
    sources: await findSources(['text.txt'], { cwd }),
    out,
    tokenizer: await createTokenizer('byte', ''),
    field: 'text',
    lineEndings: 'lf',
    skipBad: false,
    split: { by: 'fraction', val: 0.1 },
    shardTokens: 2 ** 20,
    makePool: inThisThread,
    listener: { resumed() {}, progress() {}, skipped() {}, normalised() {} },
  });
}
