/**
 * A write to an object store ends, or loses a request, at each of its requests. Whatever the moment, the next start must find the old state
 * or the complete new one, and clear away the rest.
 */
import { describe, expect, test, vi } from 'vitest';
import { placeWord, processWord } from '../../../src/base/processes.ts';
import { objectCheckpoints } from '../../../src/checkpoint/objectCheckpoints.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { FakeStore, type Fault } from '../objectStore/fakeStore.ts';
import { collect, contentsAt, valuesOf, writeTiny } from './tinyCheckpoint.ts';

// No pause before an attempt.
vi.mock('node:timers/promises', () => {
  const turn = () => new Promise((done) => setImmediate(done));
  return { setTimeout: turn, setImmediate: turn };
});

const directory = 's3://bucket/runs/tiny';

async function openStore(): Promise<FakeStore> {
  const store = await FakeStore.open();
  store.use();
  return store;
}

function folders(store: FakeStore): string[] {
  return [...new Set([...store.objects.keys()].map((key) => key.split('/').slice(0, -1).join('/')))].sort();
}

/** Everything in the store when the next writer has begun: complete checkpoints and nothing else. Who only reads leaves it as it is. */
async function stepsAfterStart(store: FakeStore, keep: number): Promise<number[]> {
  const warnings: string[] = [];
  const checkpoints = new CheckpointStore(directory, { keep, onWarning: (text) => warnings.push(text) });
  const before = [[...store.objects.keys()], [...store.uploads.keys()]];
  await checkpoints.list();
  expect([[...store.objects.keys()], [...store.uploads.keys()]]).toEqual(before);
  const next = objectCheckpoints(directory, (text) => warnings.push(text)).draft(999);
  await next.begin(0);
  await next.discard();
  const summaries = await checkpoints.list();
  expect(warnings).toEqual([]);
  expect(summaries.filter(({ problem }) => problem !== undefined)).toEqual([]);
  expect(store.uploads.size).toBe(0);
  expect(folders(store)).toEqual(summaries.map(({ path }) => path.slice('s3://bucket/'.length)).sort());
  return summaries.map(({ step }) => step);
}

test('checkpoints in a store are written, read, ranked and retained like those on a disk', async () => {
  const store = await openStore();
  const kept = new CheckpointStore(directory, { keep: 2 });
  for (const [step, valLoss] of [
    [10, 1],
    [20, 3],
    [30, 4],
    [40, null],
  ] as const)
    await writeTiny(kept, contentsAt(step, { valLoss }));
  expect(await stepsAfterStart(store, 2)).toEqual([40, 30, 10]);
  const newest = (await kept.newestWhole())!.checkpoint;
  expect(newest.path).toBe(`${directory}/step-00000040`);
  const contents = contentsAt(40);
  const names = contents.tensors.map(({ name }) => name);
  expect(await collect(newest.stream('v', names))).toEqual(valuesOf(contents.tensors, 2, 40));
  expect((await kept.bestWhole())!.checkpoint.step).toBe(10);
  expect([...store.objects.keys()].filter((key) => key.includes('step-00000040'))).toEqual(
    [
      'tokenizer.json',
      'tokenizer_config.json',
      'config.json',
      'trainer.json',
      'model.safetensors',
      'optimizer.safetensors',
      'manifest.json',
    ].map((name) => `runs/tiny/step-00000040/${name}`),
  );
  expect(await kept.roomProblem(contents.tensors.map((tensor) => ({ ...tensor, parts: ['model'] })))).toBeUndefined();
});

test('a damaged object is found before anything is used, and the checkpoint before it is taken', async () => {
  const store = await openStore();
  const checkpoints = new CheckpointStore(directory);
  for (const step of [1, 2]) await writeTiny(checkpoints, contentsAt(step));
  const key = 'runs/tiny/step-00000002/model.safetensors';
  const { body, ...rest } = store.objects.get(key)!;
  const changed = Buffer.from(body);
  changed[changed.length - 1]! ^= 1;
  store.objects.set(key, { ...rest, body: changed });
  const found = (await new CheckpointStore(directory).newestWhole())!;
  expect(found.checkpoint.step).toBe(1);
  expect(found.skipped[0]!.reason).toContain(`s3://bucket/${key} is damaged: its sha256 is`);
});

test('a store that cannot be reached is an error: no older checkpoint replaces the newest', async () => {
  const store = await openStore();
  for (const step of [1, 2]) await writeTiny(new CheckpointStore(directory), contentsAt(step));
  store.fault = (_, request) => (request.includes('step-00000002/model') ? 404 : undefined);
  expect((await new CheckpointStore(directory).newestWhole())!.checkpoint.step).toBe(1);
  store.fault = (_, request) =>
    request.startsWith('GET') && request.includes('step-00000002/model') ? 501 : undefined;
  await expect(new CheckpointStore(directory).newestWhole()).rejects.toThrow('answered 501 Fault');
});

test('a process that wakes after another has written the checkpoint changes and removes nothing of it', async () => {
  const store = await openStore();
  const frozen = objectCheckpoints(directory, () => {}).draft(7);
  await frozen.begin(0);
  await writeTiny(new CheckpointStore(directory), contentsAt(7));
  const metadata = { 'lockstep-writer': 'elsewhere 1 another' };
  for (const [key, object] of store.objects) store.objects.set(key, { ...object, metadata });
  const before = new Map(store.objects);
  const file = await frozen.createFile('model.safetensors', 4);
  await file.write(new Uint8Array(4));
  await expect(file.sync()).rejects.toThrow('another process has written s3://bucket/runs/tiny/step-00000007');
  await frozen.discard();
  expect(store.objects).toEqual(before);
  expect(store.uploads.size).toBe(0);
});

interface Scenario {
  readonly name: string;
  readonly keep: number;
  readonly before: readonly number[];
  readonly step: number;
  /** If it is smaller than the tensors of a tiny checkpoint, their files are uploaded in parts. */
  readonly partBytes?: number;
  /** How the request at which the process dies ends. */
  readonly deaths: readonly Fault[];
  /** What may be there afterwards. */
  readonly after: readonly (readonly number[])[];
}

const scenarios: Scenario[] = [
  {
    name: 'the first of a run',
    keep: 0,
    before: [],
    step: 10,
    partBytes: 6_000,
    deaths: [501, 'unanswered'],
    after: [[], [10]],
  },
  {
    name: 'one that replaces the oldest',
    keep: 1,
    before: [10],
    step: 20,
    deaths: ['unanswered'],
    after: [[10], [20, 10], [20]],
  },
  { name: 'one of the same step', keep: 2, before: [10, 20], step: 20, deaths: [501], after: [[20, 10]] },
];

describe.each(scenarios)('$name', { timeout: 120_000 }, ({ keep, before, step, partBytes, deaths, after }) => {
  /** Writes with a fault at request `at`, for each in turn; from then on at all of them if the process dies there. */
  async function* attempts(fault: Fault, dies: boolean) {
    const store = await openStore();
    for (const each of before) await writeTiny(new CheckpointStore(directory, { keep }), contentsAt(each));
    const start = [...store.objects];
    for (let at = 0; ; at++) {
      store.objects.clear();
      store.uploads.clear();
      for (const [key, object] of start) store.objects.set(key, object);
      const begun = store.requests.length;
      store.fault = (count) => (count === begun + at ? fault : dies && count > begun + at ? 501 : undefined);
      const writing = writeTiny(
        new CheckpointStore(directory, { keep, ...(partBytes && { partBytes }) }),
        contentsAt(step),
      );
      const written = await writing.then(
        () => true,
        () => false,
      );
      if (store.requests.length - begun <= at) break;
      store.fault = () => undefined;
      yield { store, written, at };
    }
  }

  test.each(deaths)('killed at any request (%s): old or new', async (fault) => {
    for await (const { store, at } of attempts(fault, true)) {
      expect(after, `request ${at}`).toContainEqual(await stepsAfterStart(store, keep));
    }
  });

  test('the answer of any one request is lost: new, and nothing else', async () => {
    for await (const { store, written, at } of attempts('unanswered', false)) {
      expect(written, `request ${at}`).toBe(true);
      expect(await stepsAfterStart(store, keep)).toEqual(after.at(-1));
    }
  });
});

test('what a writer on another machine left goes when nothing has arrived for an hour, and that of a living process never', async () => {
  const store = await openStore();
  const key = 'runs/tiny/step-00000010/model.safetensors';
  const hourAgo = new Date(Date.now() - 2 * 3_600_000);
  store.uploads.set('a', { key, metadata: {}, parts: new Map(), started: hourAgo, changed: new Date() });
  store.uploads.get('a')!.parts.set(1, Buffer.from('part'));
  const begin = async () => (await new CheckpointStore(directory).beginWrite(contentsAt(20))).abort();
  await begin();
  expect([...store.uploads.keys()]).toEqual(['a']);
  store.uploads.get('a')!.changed = hourAgo;
  await begin();
  expect(store.uploads.size).toBe(0);

  const writer = await new CheckpointStore(directory).beginWrite(contentsAt(30));
  const [first] = [...store.objects.keys()];
  const living = `${placeWord()} ${process.ppid} ${processWord(process.ppid)}`;
  for (const [each, object] of store.objects) {
    store.objects.set(each, { ...object, changed: hourAgo, metadata: { 'x-amz-meta-lockstep-writer': living } });
  }
  const abandoned = first!.replace('step-00000030', 'step-00000029');
  store.objects.set(abandoned, store.objects.get(first!)!);
  await begin();
  expect([...store.objects.keys()]).toContain(abandoned);
  await writer.abort();
});
