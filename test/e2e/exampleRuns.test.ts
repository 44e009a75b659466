/** Runs on examples: the same losses for any number of workers, and every example exactly as often as there are epochs, whatever dies. */
import { existsSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { ExampleOrder } from '../../src/data/examples/exampleOrder.ts';
import { Journal } from '../../src/records/journal.ts';
import { RunFolder } from '../../src/run/runFolder.ts';
import { launch, lossesOf, metricsOf, set, start, useFolder } from './launch.ts';

const folder = useFolder();
/** 2 of 24 rows validate. With 3 epochs the last of 17 steps has 2 examples and 2 rows of padding. */
const [rows, held, epochs, batch, steps, seed] = [24, 2, 3, 4, 17, 11];
const words = 'one two three four five six seven eight nine ten'.split(' ');
const phrase = (row: number, count: number) =>
  Array.from({ length: count }, (_, i) => words[(row + i * i) % 10]).join(' ');

const options = [
  'data.examples=rows.jsonl',
  'task.kind=sft',
  'task.template=plain',
  `train.epochs=${epochs}`,
  `train.globalBatchSize=${batch}`,
  'train.microBatchSize=1',
  `train.seed=${seed}`,
  'train.logEverySteps=1',
  `schedule.warmupSteps=${steps}`,
  'schedule.learningRate=5e-4',
  'model.nLayer=2',
  'model.nHead=2',
  'model.nEmbd=32',
  'model.blockSize=128',
  'model.dropout=0.1',
  'eval.everySteps=8',
  'checkpoint.everySteps=4',
  'checkpoint.keep=20',
  'sample.maxTokens=8',
  'engine.threads=1',
  // Workers end with their coordinator: these tests are about checkpoints.
  'comm.rejoinTimeoutMs=0',
];

beforeAll(() => {
  const lines = Array.from({ length: rows }, (_, row) =>
    JSON.stringify({ prompt: phrase(row, 1 + (row % 7)), completion: ` ${phrase(row + 3, 1 + ((row * 5) % 12))}` }),
  );
  writeFileSync(join(folder(), 'rows.jsonl'), `${lines.join('\n')}\n`);
});

async function train(run: string, workers: number, ...more: readonly string[]) {
  const args = ['--run-dir', run, '--workers', String(workers), ...more, ...set(...options)];
  const result = await launch(args, folder());
  expect(result).toMatchObject({ code: 0, stderr: '' });
  return result;
}

const checkpoint = (run: string, file: string) =>
  readFile(join(folder(), run, 'checkpoints', `step-${String(steps).padStart(8, '0')}`, file));

/** How often each example was used, from the shares of the steps in metrics.jsonl and the pure order. */
async function usesOf(run: string): Promise<number[]> {
  const count = rows - held;
  const order = new ExampleOrder(count, seed);
  const uses = Array.from({ length: count }, () => 0);
  for (const { step, ranks } of (await metricsOf(join(folder(), run))).filter(({ loss }) => loss !== undefined)) {
    for (const { sampleFrom, sampleCount } of ranks as unknown as { sampleFrom: number; sampleCount: number }[]) {
      for (let index = sampleFrom; index < sampleFrom + sampleCount; index++) {
        const place = (step - 1) * batch + index;
        if (place < epochs * count) uses[order.at(place)]!++;
      }
    }
  }
  return uses;
}

const exactly = Array.from({ length: rows - held }, () => epochs);

it('gives the losses of one process on 1, 2 and 4 workers, and says what the data is', async () => {
  const { stdout } = await train('single', 1, '--single-process');
  expect(stdout).toMatch(
    /^data rows\.jsonl: 22 examples, [\d,]+ of [\d,]+ tokens are targets, 2 examples to validate, char tokenizer with \d+ tokens$/m,
  );
  expect(stdout).toMatch(/^--- sample ---\n[a-z]+/m);
  const expected = await metricsOf(join(folder(), 'single'));
  expect(expected.filter(({ loss }) => loss !== undefined)).toHaveLength(steps);
  const evaluated = await launch(['eval', '--checkpoint', 'single', '--json'], folder());
  expect(evaluated).toMatchObject({ code: 0 });
  expect(evaluated.stderr).not.toContain('changed');
  const measured = JSON.parse(evaluated.stdout);
  expect(measured).toMatchObject({ rows: held, split: 'val', data: null });
  expect(measured.loss).toBeCloseTo(expected.findLast(({ valLoss }) => valLoss !== undefined)!.valLoss!, 5);
  for (const workers of [1, 2, 4]) {
    const run = `workers-${workers}`;
    await train(run, workers);
    const lines = await metricsOf(join(folder(), run));
    expect(lines).toHaveLength(expected.length);
    for (const [i, line] of lines.entries()) {
      const [one, other] = [line, expected[i]!].map(({ loss, valLoss }) => loss ?? valLoss!);
      expect(Math.abs(one! / other! - 1), `line ${i + 1}`).toBeLessThan(1e-5);
      expect((line as { tokens?: number }).tokens).toBe((expected[i] as { tokens?: number }).tokens);
      // Its targets are answers: bits of each byte of the text mean nothing.
      expect(line).not.toHaveProperty('valBitsPerByte');
    }
    expect(await usesOf(run)).toEqual(exactly);
  }
});

async function killedAt(args: readonly string[], moment: RegExp): Promise<void> {
  const running = start(args, folder());
  await running.printed(moment);
  running.process.kill('SIGKILL');
  await running.finished;
  while ((await running.descendants()).length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
}

it('gives the same bytes when it is killed and resumed, and refuses other examples', async () => {
  await killedAt(['--run-dir', 'killed', '--workers', '2', ...set(...options)], /step +6\//);
  await killedAt(['--resume', 'killed'], /step +13\//);
  const path = join(folder(), 'rows.jsonl');
  const content = await readFile(path, 'utf8');
  writeFileSync(path, content.replace('one', 'two'));
  const refused = await launch(['--resume', 'killed'], folder());
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('the examples have changed since');
  writeFileSync(path, content);
  expect(await launch(['--resume', 'killed'], folder())).toMatchObject({ code: 0, stderr: '' });
  for (const file of ['model.safetensors', 'optimizer.safetensors', 'trainer.json']) {
    expect((await checkpoint('killed', file)).equals(await checkpoint('workers-2', file)), file).toBe(true);
  }
  expect(await lossesOf(join(folder(), 'killed'))).toEqual(await lossesOf(join(folder(), 'workers-2')));
  expect(await usesOf('killed')).toEqual(exactly);
  const over = await launch(['--resume', 'killed'], folder());
  expect(over.stdout).toContain(
    'nothing left to train: killed is at step 17 of 17. To continue, add epochs: --set train.epochs=4',
  );
});

it('uses each example exactly as often with 1, then 3, then 2 workers, killed in between', async () => {
  await killedAt(['--run-dir', 'elastic', '--workers', '1', ...set(...options)], /step +6\//);
  await killedAt(['--resume', 'elastic', '--workers', '3'], /step +10\//);
  expect((await launch(['--resume', 'elastic', '--workers', '2'], folder())).code).toBe(0);
  expect(await usesOf('elastic')).toEqual(exactly);
  const expected = await lossesOf(join(folder(), 'single'));
  for (const [i, loss] of (await lossesOf(join(folder(), 'elastic'))).entries()) {
    expect(Math.abs(loss / expected[i]! - 1), `step ${i + 1}`).toBeLessThan(1e-5);
  }
});

it('continues with the examples after the last one when it gets another epoch, and leaves none out', async () => {
  const short = ['--run-dir', 'short', '--workers', '1', ...set(...options, 'train.epochs=1', 'model.dropout=0')];
  expect((await launch(short, folder())).code).toBe(0);
  const more = await launch(['--resume', 'short', ...set('train.epochs=2')], folder());
  expect(more).toMatchObject({ code: 0, stderr: '' });
  // 22 examples in 6 steps, the last with 2; then 22 more.
  expect(await lossesOf(join(folder(), 'short'))).toHaveLength(12);
  expect(await samplesSeen('short', 12)).toBe(44);

  // Workers on another machine made two steps more, whose coordinator was killed; they cannot find the next one.
  const journal = Journal.create(new RunFolder(join(folder(), 'short')).journalPath, expect.unreachable);
  journal.append({ kind: 'run', format: 2, runId: 'r-1', address: 'tcp://127.0.0.1:5555' });
  journal.append({ kind: 'term', term: 9, step: 12, members: [{ worker: 'w', host: 'elsewhere', pid: 1 }] });
  const commit = { kind: 'commit', term: 9, loss: 1, gradNorm: 1, tokens: 2_000, lr: 0.001, ranks: [] } as const;
  for (const step of [13, 14]) journal.append({ ...commit, step, samples: 44 + batch * (step - 12) });
  await journal.close();
  const changed = set('train.epochs=3', 'train.globalBatchSize=2');
  const third = await launch(['--resume', 'short', '--single-process', ...changed], folder());
  expect(third.code).toBe(0);
  expect(third.stderr).toContain('w look for their coordinator at tcp://127.0.0.1:5555');
  expect(await samplesSeen('short', 12 + 11)).toBe(66);
});

async function samplesSeen(run: string, step: number): Promise<number> {
  const path = join(folder(), run, 'checkpoints', `step-${String(step).padStart(8, '0')}`, 'trainer.json');
  return JSON.parse(await readFile(path, 'utf8')).data.samplesSeen;
}

it('ends with code 2 and writes nothing for a row that is wrong', async () => {
  writeFileSync(join(folder(), 'bad.jsonl'), '{"prompt":"a","completion":"b"}\n{"prompt":"a","answer":"b"}\n');
  const args = [
    '--run-dir',
    'bad',
    ...set(...options, 'data.examples=bad.jsonl', 'eval.everySteps=0', 'data.valFraction=0'),
  ];
  const result = await launch(args, folder());
  expect(result.code).toBe(2);
  expect(result.stderr).toMatch(/^launch: bad\.jsonl:2: /);
  expect(existsSync(join(folder(), 'bad'))).toBe(false);
});
