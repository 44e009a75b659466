import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { encodeLine } from '../../../src/records/journalRecords.ts';
import { MetricsLog } from '../../../src/records/metricsLog.ts';
import { commit } from './journalFixtures.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-metrics-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const line = (step: number) => ({ step, valLoss: 1, valPerplexity: Math.E, valTargets: 2 });

it('appends a line for each entry', async () => {
  const path = join(folder, 'a.jsonl');
  const log = await MetricsLog.open(path, 0, () => {});
  for (const step of [1, 2, 3]) log.append(line(step));
  await log.flush();
  expect(await readFile(path, 'utf8')).toBe([1, 2, 3].map((step) => `${JSON.stringify(line(step))}\n`).join(''));
});

it('drops what a resumed run writes again, and a line torn by a crash', async () => {
  const path = join(folder, 'b.jsonl');
  await writeFile(path, '{"step":1}\n{"step":2}\n{"step":3}\n{"step":4,"lo');
  await MetricsLog.open(path, 2, () => {});
  expect(await readFile(path, 'utf8')).toBe('{"step":1}\n{"step":2}\n');
});

it('starts empty when the run starts from the beginning', async () => {
  const path = join(folder, 'c.jsonl');
  await writeFile(path, '{"step":1}\n');
  await MetricsLog.open(path, 0, () => {});
  expect(await readFile(path, 'utf8')).toBe('');
});

it('warns once when the disk refuses, and continues', async () => {
  const path = join(folder, 'd.jsonl');
  const warnings: string[] = [];
  const log = await MetricsLog.open(path, 0, (message) => warnings.push(message));
  await rm(path);
  await import('node:fs/promises').then((fs) => fs.mkdir(path));
  log.append(line(1));
  await log.flush();
  log.append(line(2));
  await log.flush();
  expect(warnings).toEqual([expect.stringMatching(/cannot write .*d\.jsonl/)]);
});

it('does not lose the metrics of a run because they cannot be read for a moment', async () => {
  const path = join(folder, 'folder.jsonl');
  await mkdir(path);
  await expect(MetricsLog.open(path, 2, () => {})).rejects.toThrow(
    /cannot open .*folder\.jsonl: it is a folder, not a file \(EISDIR\)/,
  );
});

it('rewinds in order with what is appended before and after', async () => {
  const path = join(folder, 'rewind.jsonl');
  const log = await MetricsLog.open(path, 0, () => {});
  for (const step of [1, 2, 3, 4]) log.append(line(step));
  log.rewind(2);
  for (const step of [3, 4, 5]) log.append(line(step));
  log.rewind(4);
  log.rewind(9);
  await log.flush();
  expect(await readFile(path, 'utf8')).toBe([1, 2, 3, 4].map((step) => `${JSON.stringify(line(step))}\n`).join(''));
  log.append(line(5));
  log.rewind(0);
  log.append(line(1));
  await log.flush();
  expect(await readFile(path, 'utf8')).toBe(`${JSON.stringify(line(1))}\n`);
});

it('a rewind that the disk refuses is warned of, and the run continues', async () => {
  const path = join(folder, 'refused', 'metrics.jsonl');
  await mkdir(dirname(path));
  const warnings: string[] = [];
  const log = await MetricsLog.open(path, 0, (message) => warnings.push(message));
  log.append(line(1));
  await log.flush();
  await mkdir(`${path}.new`);
  log.rewind(0);
  log.append(line(1));
  await log.flush();
  expect(warnings).toEqual([expect.stringMatching(/cannot write .*metrics\.jsonl: .*\(EISDIR\)/)]);
  expect(await readFile(path, 'utf8')).toBe(`${JSON.stringify(line(1))}\n`.repeat(2));
});

it('writes the steps that a killed coordinator had committed and not written', async () => {
  const path = join(folder, 'commits.jsonl');
  const before = ['{"step":1,"loss":4}', '{"step":2,"loss":3}', '{"step":2,"valLoss":3}'];
  await writeFile(path, [...before, '{"step":3,"lo'].join('\n'));
  const commits = [1, 2, 3, 4, 5].map((step) => commit(step));
  await MetricsLog.open(path, 4, () => {}, commits);
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  expect(lines.slice(0, 3)).toEqual(before);
  expect(lines.slice(3).map((text) => JSON.parse(text))).toEqual(
    [3, 4].map((step) => {
      const { kind: _, ...rest } = commit(step);
      return rest;
    }),
  );
});

it('writes of a committed step what else its objective measured', async () => {
  const path = join(folder, 'means.jsonl');
  const record = { ...commit(1), means: { correct: 0.25 } };
  // As it is read from the journal.
  const { line: text } = encodeLine(record, 0);
  expect(JSON.parse(text)).toMatchObject({ means: { correct: 0.25 } });
  await MetricsLog.open(path, 1, () => {}, [record]);
  expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ step: 1, means: { correct: 0.25 } });
});

it('a validation line is not a step line: the step before it is still missing', async () => {
  const path = join(folder, 'validation.jsonl');
  await writeFile(path, '{"step":1,"loss":4}\n{"step":2,"valLoss":3}\n');
  await MetricsLog.open(path, 2, () => {}, [commit(1), commit(2)]);
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  expect(lines.map((text) => JSON.parse(text).step)).toEqual([1, 2, 2]);
});
