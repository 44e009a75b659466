/** `launch prepare --out s3://…` has the bytes of a folder on a disk, keeps little on it, and resumes. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
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
