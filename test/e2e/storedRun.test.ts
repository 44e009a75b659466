/** A run that keeps its checkpoints in an object store resumes there without its directory, and never beside another coordinator. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { RunMessages } from '../../src/run/messages.ts';
import type { RunArguments } from '../../src/run/prepareRun.ts';
import type { StartedRun } from '../../src/run/runObserver.ts';
import { FakeStore } from '../unit/objectStore/fakeStore.ts';

// Their compute threads need the built files.
const built = new URL('../../dist/run/', import.meta.url).href;
const { executeRun }: typeof import('../../src/run/executeRun.ts') = await import(`${built}executeRun.js`);
const { prepareRun }: typeof import('../../src/run/prepareRun.ts') = await import(`${built}prepareRun.js`);

let cwd: string;
let store: FakeStore;
const said: string[] = [];
beforeEach(async () => {
  said.length = 0;
  cwd = await mkdtemp(join(tmpdir(), 'lockstep-stored-'));
  store = await FakeStore.open();
  store.use();
});
afterEach(() => rm(cwd, { recursive: true }));

const say = (line: string) => void said.push(line);
const messages: RunMessages = { note: say, warn: say, progress: () => () => {} };
const tiny = [
  ...['model.nLayer=1', 'model.nHead=1', 'model.nEmbd=8', 'model.blockSize=8', 'data.text=builtin'],
  ...['train.workers=1', 'train.maxSteps=8', 'train.globalBatchSize=4', 'train.microBatchSize=4'],
  ...['engine.name=native', 'engine.threads=1', 'schedule.warmupSteps=0', 'sample.maxTokens=0'],
  ...['checkpoint.everySteps=4', 'eval.everySteps=4', 'eval.batches=1'],
];

/** @param onStep told each step, with the run */
async function train(args: Partial<RunArguments>, onStep: (step: number, run: StartedRun) => void = () => {}) {
  const options = { encrypt: true, singleProcess: true };
  const run = await prepareRun({ ...options, dryRun: false, ...args }, cwd, messages);
  let started: StartedRun;
  const observe = async () => ({
    listeners: [{ step: ({ step }: { step: number }) => onStep(step, started) }],
    started: (it: StartedRun) => {
      started = it;
    },
    close: async () => {},
  });
  return await executeRun({ ...options, run, maxRestarts: 0, messages, observe });
}

const begin = (name: string, onStep?: (step: number, run: StartedRun) => void) =>
  train({ set: [...tiny, `checkpoint.directory=s3://bucket/runs/${name}`], runDir: `first/${name}` }, onStep);
const objects = (prefix: string) => [...store.objects.keys()].filter((key) => key.startsWith(prefix));
const body = (key: string) => store.objects.get(key)?.body.toString('latin1');
const lines = (path: string) =>
  readFileSync(join(cwd, path), 'utf8')
    .trim()
    .split('\n')
    .map((line): Record<string, unknown> => JSON.parse(line));
/** What must not depend on interruptions. */
const facts = (path: string) =>
  lines(path).map(({ step, loss, valLoss, gradNorm, tokens }) => ({ step, loss, valLoss, gradNorm, tokens }));

it('continues without its directory with the same bits, and with every line of its metrics once', async () => {
  await begin('a');
  // A machine that is lost after step 6: the checkpoint of its end never came to be, but lines of later steps did.
  await begin('b1.5/', (step, run) => step === 6 && run.stop());
  for (const key of objects('runs/b1.5/step-').filter((each) => !each.includes('00000004'))) store.objects.delete(key);
  await rm(join(cwd, 'first/b1.5'), { recursive: true });
  expect(objects('runs/b1.5/run/').map((key) => key.split('/').at(-1))).toEqual(
    expect.arrayContaining(['config.yaml', 'metrics-000001-000000.jsonl', 'events-000001-000000.jsonl']),
  );

  // Left from an attempt that failed before it had a config.
  await mkdir(join(cwd, 'runs/b1.5'), { recursive: true });
  await writeFile(join(cwd, 'runs/b1.5/metrics.jsonl'), 'half a li');

  expect(await train({ resume: 's3://bucket/runs/b1.5/' })).toMatchObject({ end: 'trained', step: 8 });
  for (const file of ['model.safetensors', 'optimizer.safetensors']) {
    expect(body(`runs/b1.5/step-00000008/${file}`)).toBe(body(`runs/a/step-00000008/${file}`));
  }
  expect(facts('runs/b1.5/metrics.jsonl')).toEqual(facts('first/a/metrics.jsonl'));
  expect(lines('runs/b1.5/events.jsonl').map(({ event }) => event)).toEqual(
    expect.arrayContaining(['stopping', 'resumed', 'finished']),
  );
  expect(readFileSync(join(cwd, 'runs/b1.5/config.yaml'), 'utf8')).toContain('s3://bucket/runs/b1.5');
  // The store has the same, and nothing of earlier editions or of the claim.
  expect(objects('runs/b1.5/run/metrics-').every((key) => key.includes('-000002-'))).toBe(true);
  const kept = objects('runs/b1.5/run/metrics-').map((key) => store.objects.get(key)!.body.toString());
  expect(kept.join('')).toBe(readFileSync(join(cwd, 'runs/b1.5/metrics.jsonl'), 'utf8'));
  expect(store.objects.has('runs/b1.5/run/coordinator.json')).toBe(false);

  // The directory is found again, and one that has missed steps takes the records of the store.
  await train({ resume: 's3://bucket/runs/b1.5', runDir: 'elsewhere', set: ['train.maxSteps=12'] });
  await train({ resume: 's3://bucket/runs/b1.5', set: ['train.maxSteps=16'] });
  expect(lines('runs/b1.5/metrics.jsonl').flatMap(({ step, loss }) => (loss === undefined ? [] : [step]))).toEqual(
    Array.from({ length: 16 }, (_, i) => i + 1),
  );
  expect(existsSync(join(cwd, 'runs/b1.5-2'))).toBe(false);
});

it('is continued by the words that began it, where a node lost its disk', async () => {
  const args = { set: [...tiny, 'checkpoint.directory=s3://bucket/c'], runDir: 'c', continuesStored: true };
  await train(args, (step, run) => step === 5 && run.stop());
  await rm(join(cwd, 'c'), { recursive: true });
  expect(await train(args)).toMatchObject({ end: 'trained', step: 8 });
  expect(said.join('\n')).toContain('s3://bucket/c has a run, which continues');
  await expect(train({ ...args, runDir: 'd', continuesStored: false })).rejects.toThrow(/resume s3:\/\/bucket\/c/);
});

it('refuses a prefix without checkpoints, one that has lost those of the run, and a single checkpoint', async () => {
  await expect(train({ resume: 's3://bucket/none' })).rejects.toThrow(/no checkpoint to resume from/);
  await expect(train({ resume: 's3://bucket/none/step-00000004' })).rejects.toThrow(
    /name the prefix, s3:\/\/bucket\/none,/,
  );
  await begin('e', (step, run) => step === 4 && run.stop());
  store.objects.clear();
  await expect(train({ resume: 'first/e' })).rejects.toThrow(
    /first\/e wrote the checkpoint of step \d to s3:\/\/bucket\/runs\/e, but http:\S+ has none there: check the endpoint.*remove \S*first\/e\/stored-checkpoint.json/s,
  );
  await rm(join(cwd, 'first/e/stored-checkpoint.json'));
  await expect(train({ resume: 'first/e' })).resolves.toMatchObject({ step: 8 });
  expect(said.join('\n')).toContain('the run starts from the beginning');
});

it('makes the evaluation of the last step that the store does not have, and only once', async () => {
  const unevaluated = tiny.map((each) => each.replace('eval.everySteps=4', 'eval.everySteps=0'));
  await train({ set: [...unevaluated, 'checkpoint.directory=s3://bucket/g'], runDir: 'g' });
  const resume = (runDir: string) => train({ resume: 's3://bucket/g', runDir, set: ['eval.everySteps=8'] });
  const made = await resume('g2');
  expect(made).toMatchObject({ end: 'trained', step: 8, evaluations: [{ step: 8 }] });
  expect(await resume('g3')).toEqual({ ...made, end: 'nothingLeft' });
});

it('computes no reference of preferences for a run that has come to its end', async () => {
  const rows = Array.from({ length: 40 }, (_, i) => ({ prompt: `say ${i % 9}`, chosen: 'yes', rejected: 'no' }));
  await writeFile(join(cwd, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const dpo = [
    ...tiny.filter((each) => !/^(data.text|model.blockSize|train.maxSteps|eval.everySteps)=/.test(each)),
    ...[
      'task.kind=dpo',
      'task.template=plain',
      'data.examples=rows.jsonl',
      'data.valFraction=0.2',
      'model.blockSize=32',
    ],
    ...['train.maxSteps=1', 'eval.everySteps=1', 'checkpoint.directory=s3://bucket/h'],
  ];
  const made = await train({ set: dpo, runDir: 'h' });
  expect(said.join('\n')).toContain('reference');
  said.length = 0;
  expect(await train({ resume: 's3://bucket/h', runDir: 'h2' })).toEqual({ ...made, end: 'nothingLeft' });
  expect(said.join('\n')).not.toContain('reference');
});

it('ends when another coordinator takes its prefix, and makes no checkpoint visible after that', async () => {
  const key = 'runs/f/run/coordinator.json';
  const run = begin('f', (step) => {
    if (step !== 5) return;
    const owner = JSON.parse(store.objects.get(key)!.body.toString());
    store.put(key, Buffer.from(JSON.stringify({ ...owner, host: 'other', pid: 12, claim: 'another' })));
  });
  await expect(run).rejects.toThrow(/process 12 on other has taken s3:\/\/bucket\/runs\/f/);
  expect(objects('runs/f/step-00000008').filter((each) => each.endsWith('manifest.json'))).toEqual([]);
  expect(body(key)).toContain('another');
});
