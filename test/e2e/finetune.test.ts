/** `launch finetune`: the task follows from the rows, and the printed command trains the same model. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { launch, set, tiny, useFolder } from './launch.ts';

const folder = useFolder();

const rows = Array.from({ length: 40 }, (_, i) => ({ prompt: `number ${i}`, completion: `${i + 1}` }));

it('trains weights on rows as the command that it prints', async () => {
  const here = folder();
  writeFileSync(join(here, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const base = await launch(
    ['--run-dir', 'runs/base', ...set(...tiny, 'train.maxSteps=1', 'data.tokenizer=bpe:300', 'model.blockSize=64')],
    here,
  );
  expect(base).toMatchObject({ code: 0, stderr: '' });

  const settings = ['train.epochs=1', 'train.workers=1', 'task.template=plain'];
  const given = ['finetune', 'runs/base', 'rows.jsonl', '--run-dir', 'runs/short', ...set(...settings)];
  const short = await launch(given, here);
  expect(short).toMatchObject({ code: 0, stderr: '' });
  const [, printed] = /^the same as: npx launch (.*)$/m.exec(short.stdout) ?? [];
  expect(printed).toMatch(
    /^--config sft --run-dir runs\/short --set 'model.from="runs\/base"' 'data.examples="rows.jsonl"' schedule.learningRate=1e-3 .* train.globalBatchSize=2 train.microBatchSize=2 train.logEverySteps=10 schedule.warmupSteps=1$/,
  );

  const words = printed!.replace('runs/short', 'runs/long').split(' ');
  const long = await launch(
    words.map((word) => word.replaceAll("'", '')),
    here,
  );
  expect(long).toMatchObject({ code: 0, stderr: '' });
  const [one, other] = ['short', 'long'].map((run) => readFileSync(join(here, 'runs', run, 'metrics.jsonl'), 'utf8'));
  const losses = (text = '') => [...text.matchAll(/"(?:loss|valLoss)":([^,]+)/g)].map(([, loss]) => loss);
  expect(losses(one).length).toBeGreaterThan(3);
  expect(losses(one)).toEqual(losses(other));
});

it('names the keys that it expects of rows', async () => {
  const here = folder();
  mkdirSync(join(here, 'runs', 'base'), { recursive: true });
  writeFileSync(join(here, 'other.jsonl'), '{"question":"a","answer":"b"}\n');
  const { code, stderr } = await launch(['finetune', 'runs/base', 'other.jsonl'], here);
  expect(code).toBe(2);
  expect(stderr).toMatch(/other\.jsonl:1: expected a row with one of/);
});
