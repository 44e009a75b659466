import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MetricsLog } from '../../../src/coordinator/metricsLog.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-metrics-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const line = (step: number) => ({ step, valLoss: 1, valTargets: 2 });

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

it('warns once when the disk refuses, and goes on', async () => {
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
  await expect(MetricsLog.open(path, 2, () => {})).rejects.toThrow(/cannot open .*folder\.jsonl: EISDIR/);
});
