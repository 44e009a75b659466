/** `launch prepare --out s3://…` has the bytes of a folder on a disk, keeps little on it, and resumes. */
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { inThisThread } from '../../../../src/data/prepare/encodePool.ts';
import { prepareShards } from '../../../../src/data/prepare/prepareShards.ts';
import { findSources } from '../../../../src/data/prepare/sources.ts';
import { readShardManifest } from '../../../../src/data/shards/shardManifest.ts';
import { survey } from '../../../../src/data/shards/survey.ts';
import { createTokenizer } from '../../../../src/data/tokenizers/openTokenizer.ts';
import { temporaryFolder } from '../../checkpoint/tinyCheckpoint.ts';
import { FakeStore } from '../../objectStore/fakeStore.ts';

let store: FakeStore;
let folder: string;
beforeEach(async () => {
  store = await FakeStore.open();
  store.use();
  folder = await temporaryFolder();
  const before = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = join(folder, 'cache');
  onTestFinished(() => {
    if (before === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = before;
  });
  for (let i = 0; i < 4; i++) writeFileSync(join(folder, `text-${i}.txt`), `text ${i} `.repeat(150));
});

const prefix = 's3://bucket/data/corpus';
const quiet = { resumed() {}, progress() {}, skipped() {}, normalised() {} };
/** Shards of 1,024 tokens, and progress after every job. */
async function prepare(out: string, shardTokens = 1_024) {
  return await prepareShards({
    ...{ sources: await findSources(['text-*.txt'], { cwd: folder }), out },
    ...{ tokenizer: await createTokenizer('byte', ''), field: 'text', lineEndings: 'lf', skipBad: false },
    ...{ split: { by: 'fraction', val: 0.1 }, shardTokens, keepIntervalMs: 0 },
    ...{ makePool: inThisThread, listener: quiet },
  });
}
const work = () => readdirSync(join(folder, 'cache/lockstep/prepare'));

it('moves shards as they are complete, resumes after a failure, and writes the manifest last', async () => {
  await prepare(join(folder, 'disk'));
  store.fault = (_, request) => (request.startsWith('PUT data/corpus/tokens-00002.bin') ? 403 : undefined);
  await expect(prepare(prefix)).rejects.toThrow('tokens-00002.bin');
  expect([...store.objects.keys()].sort()).toEqual(
    ['prepare.json', ...['tokens-00000.bin', 'tokens-00001.bin'].flatMap((name) => [name, `${name}.pieces`])].map(
      (name) => `data/corpus/${name}`,
    ),
  );
  expect(work().flatMap((name) => readdirSync(join(folder, 'cache/lockstep/prepare', name)))).not.toContain(
    'tokens-00000.bin',
  );
  await expect(readShardManifest(prefix, 'data.shards')).rejects.toThrow('is not finished');

  store.fault = () => undefined;
  expect(await prepare(prefix)).toMatchObject({ documents: 4 });
  const names = readdirSync(join(folder, 'disk'));
  expect([...store.objects.keys()].sort()).toEqual(names.map((name) => `data/corpus/${name}`).sort());
  for (const name of names) {
    expect(store.objects.get(`data/corpus/${name}`)!.body, name).toEqual(readFileSync(join(folder, 'disk', name)));
  }
  expect(store.requests.findLast((each) => each.startsWith('PUT'))).toBe('PUT data/corpus/manifest.json');
  expect(work()).toEqual([]);

  // The same again is done already; other options are refused, and so is a prefix with something else.
  expect(await prepare(prefix)).toBeUndefined();
  await expect(prepare(prefix, 2_048)).rejects.toThrow('with other options');
  store.put('other/thing', Buffer.from('x'));
  await expect(prepare('s3://bucket/other')).rejects.toThrow('has other objects');
});

const stored = () => [...store.objects.keys()].map((key) => key.slice('data/corpus/'.length)).sort();
const refuse = (name: string) => {
  store.fault = (_, request) => (request.startsWith(`PUT data/corpus/${name}`) ? 403 : undefined);
};

it('starts over where the store lacks what the progress counts: it was emptied, another machine began, or a shard was removed', async () => {
  await prepare(join(folder, 'disk'));
  const names = readdirSync(join(folder, 'disk')).sort();
  refuse('tokens-00002.bin');
  await expect(prepare(prefix)).rejects.toThrow('tokens-00002.bin');
  expect(statSync(join(folder, 'cache/lockstep/prepare', work()[0]!)).mode & 0o777).toBe(0o700);
  store.objects.clear();
  store.fault = () => undefined;
  expect(await prepare(prefix)).toMatchObject({ documents: 4 });
  expect(stored()).toEqual(names);

  // The store has the plan, but lacks a shard.
  store.objects.clear();
  refuse('tokens-00002.bin');
  await expect(prepare(prefix)).rejects.toThrow('tokens-00002.bin');
  store.objects.delete('data/corpus/tokens-00001.bin');
  store.fault = () => undefined;
  await prepare(prefix);
  expect(stored()).toEqual(names);

  // The same path at another endpoint.
  refuse('tokens-00002.bin');
  store.objects.clear();
  await expect(prepare(prefix)).rejects.toThrow('tokens-00002.bin');
  store = await FakeStore.open();
  store.use();
  await prepare(prefix);
  expect(stored()).toEqual(names);
});

it('writes no manifest for a shard that was removed or replaced meanwhile', async () => {
  for (const change of [
    () => store.objects.delete('data/corpus/tokens-00000.bin'),
    () => store.put('data/corpus/tokens-00000.bin', Buffer.from('x')),
  ]) {
    store.objects.clear();
    store.fault = (_, request) => {
      if (request === 'PUT data/corpus/tokens-00003.bin') change();
      return undefined;
    };
    await expect(prepare(prefix)).rejects.toThrow(
      /tokens-00000.bin (was removed|has 1 bytes, not the \d+).*starts over/,
    );
    expect(stored()).not.toContain('manifest.json');
    store.fault = () => undefined;
    expect(await prepare(prefix)).toMatchObject({ documents: 4 });
    expect(stored()).toContain('tokens-00000.bin');
  }
});

it('leaves no shards of an input that was refused, and does not count a refusal of the store as one', async () => {
  refuse('tokens-00002.bin');
  await expect(prepare(prefix)).rejects.toThrow('tokens-00002.bin');
  store.fault = () => undefined;
  await expect(prepare(prefix, 4_096)).rejects.toThrow('with other options');

  writeFileSync(join(folder, 'text-3.txt'), Buffer.concat([Buffer.from('x'.repeat(1350)), Buffer.from([0xff, 0xfe])]));
  utimesSync(join(folder, 'text-3.txt'), 1, 1);
  store.objects.clear();
  await expect(prepare(prefix)).rejects.toThrow('text-3.txt');
  // Shards that have moved before, as those of a longer input.
  for (const name of ['tokens-00000.bin', 'tokens-00007.bin', 'tokens-00007.bin.pieces']) {
    store.put(`data/corpus/${name}`, Buffer.from('old'));
  }
  writeFileSync(join(folder, 'text-3.txt'), 'good');
  await prepare(join(folder, 'disk'), 4_096);
  await prepare(prefix, 4_096);
  expect(stored()).toEqual(readdirSync(join(folder, 'disk')).sort());
});

it('is surveyed with the counts of the folder on the disk', async () => {
  await prepare(prefix);
  await prepare(join(folder, 'disk'));
  const counts = async (path: string) => await survey(path, await readShardManifest(path, 'inspect'), () => {});
  expect(await counts(prefix)).toEqual(await counts(join(folder, 'disk')));
  const key = 'data/corpus/tokens-00001.bin';
  const damaged = Buffer.from(store.objects.get(key)!.body);
  damaged[200]! ^= 1;
  store.put(key, damaged);
  await expect(counts(prefix)).rejects.toThrow(`${prefix}/tokens-00001.bin`);
});
