/** A classifier on the command line: one that transformers saved is trained further, evaluated and used, and generates nothing. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { launch, set, useFolder } from './launch.ts';

const folder = useFolder();

it('is trained, evaluated and used', async () => {
  const cwd = folder();
  const fixtures = join(packageRoot, 'test/fixtures/classifier');
  cpSync(join(fixtures, 'classes'), join(cwd, 'published'), { recursive: true });
  const { texts } = JSON.parse(readFileSync(join(fixtures, 'expected.json'), 'utf8')) as { texts: string[] };
  const labels = ['ham', 'spam', 'other'];
  const rows = texts.map((text, i) => JSON.stringify({ text, label: labels[i % 3] })).join('\n');
  writeFileSync(join(cwd, 'rows.jsonl'), rows);
  const keys = ['data.examples=rows.jsonl', 'task.kind=classify', 'train.trainable=lastBlocks:1', 'train.maxSteps=30'];
  const batch = ['train.globalBatchSize=8', 'train.microBatchSize=4', 'data.valFraction=0', 'eval.everySteps=0'];
  const rate = ['schedule.learningRate=0.01', 'schedule.minLearningRate=0.01', 'schedule.warmupSteps=0'];
  const how = ['--workers', '2', '--init-from', 'published', '--run-dir', 'trained'];
  const trained = await launch([...how, ...set(...keys, ...batch, ...rate)], cwd);
  expect(trained).toMatchObject({ code: 0, stderr: '', orphans: [] });

  const evaluated = await launch(['eval', '--checkpoint', 'trained', '--data', 'rows.jsonl', '--json'], cwd);
  const { accuracy, confusion, rows: count } = JSON.parse(evaluated.stdout);
  expect([accuracy, count, confusion]).toEqual([
    1,
    8,
    [
      [3, 0, 0],
      [0, 3, 0],
      [0, 0, 2],
    ],
  ]);
  const shown = await launch(['eval', '--checkpoint', 'trained', '--data', 'rows.jsonl'], cwd);
  expect(shown.stdout).toMatch(/^loss 0\.\d+, accuracy 100\.00 %, macro F1 1\.0000, over 8 rows\n\nclass +precision/);

  writeFileSync(join(cwd, 'headless.tsv'), `${texts.map((text, i) => `${labels[i % 3]}\t${text}`).join('\n')}\n`);
  const headless = await launch(
    ['eval', '--checkpoint', 'trained', '--data', 'headless.tsv', '--columns', 'label,text'],
    cwd,
  );
  expect(headless.stdout).toBe(shown.stdout);
  const own = await launch(['eval', '--checkpoint', 'trained', '--split', 'train'], cwd);
  expect(own.stdout).toBe(shown.stdout);

  const classified = await launch(['classify', '--checkpoint', 'trained', texts[1]!], cwd);
  expect(classified.stdout).toMatch(/^spam {2}spam \d+\.\d %, /);
  // One more, which is longer than the context.
  writeFileSync(join(cwd, 'long.txt'), `${readFileSync(join(cwd, 'headless.tsv'), 'utf8')}ham\t${'b'.repeat(99)}\n`);
  const file = ['--file', 'long.txt', '--format', 'tsv', '--columns', 'label,text', '--too-long', 'truncate'];
  const all = await launch(['classify', '--checkpoint', 'trained', ...file, '--json'], cwd);
  expect(all.stderr).toContain(`\nshortened 1 of ${texts.length + 1} texts to 24 tokens\n`);
  expect(
    all.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).label)
      .slice(0, -1),
  ).toEqual(texts.map((_, i) => labels[i % 3]));

  const refused = await launch(['generate', '--checkpoint', 'trained', '--prompt', 'a'], cwd);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('classifies texts (ham, spam, other) and does not predict or generate them');
  expect(await launch(['classify', '--checkpoint', 'trained'], cwd)).toMatchObject({ code: 2 });
});
