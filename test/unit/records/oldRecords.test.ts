/** What a version of before, which called a term an epoch, left of a run whose coordinator was killed after step 12 (oldRun/); the loss among its events is told as then. */
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { withoutRepeats } from '../../../src/records/eventText.ts';
import { Journal } from '../../../src/records/journal.ts';
import { MetricsLog } from '../../../src/records/metricsLog.ts';
import { inTodaysWords } from '../../../src/records/oldRecords.ts';
import { parseLine } from '../../../src/records/runLines.ts';
import { readRun } from '../../../src/records/runRecord.ts';

let folder = '';
const none = (message: string) => expect.unreachable(message);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-old-'));
  await cp(fileURLToPath(new URL('oldRun', import.meta.url)), folder, { recursive: true });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('the journal is continued, and written anew in the current format', async () => {
  const path = join(folder, 'journal.jsonl');
  const { journal, recovered } = Journal.open(path, none);
  expect(recovered).toMatchObject({ term: 1, step: 12, committedTerm: 1, tokens: 384 });
  expect(recovered?.members.map(({ worker }) => worker)).toEqual(['local-0000', 'local-0001']);
  journal.append({ kind: 'term', term: 2, step: 12, members: [] });
  await journal.close();
  const text = await readFile(path, 'utf8');
  expect(text).toMatch(/"kind":"run","format":2/);
  expect(text).not.toContain('epoch');
  expect(Journal.open(path, none).recovered).toMatchObject({ ...recovered, term: 2, members: [] });
});

it('plots, reports and the dashboard read its lines', async () => {
  const run = await readRun(folder);
  expect(run.steps.step).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  expect(run.tokens).toBe(384);
  expect(run.badLines).toBe(0);
  expect(run.events.map(({ event, term }) => [event, term])).toEqual([
    ['join', 0],
    ['join', 0],
    ['term', 1],
    ['lost', 1],
    ['restart', 1],
    ['term', 2],
    ['term', 3],
  ]);
  // The loss has told of term 2, which has no mark of that yet.
  const terms = withoutRepeats(run.events).filter(({ event }) => event === 'term');
  expect(terms.map(({ term }) => term)).toEqual([1, 3]);
  const [first = ''] = (await readFile(join(folder, 'metrics.jsonl'), 'utf8')).split('\n');
  expect(parseLine(first)).toMatchObject({ kind: 'step', line: { term: 1 } });
});

it('a resume keeps the lines that it has, and adds those of today', async () => {
  const path = join(folder, 'metrics.jsonl');
  const log = await MetricsLog.open(path, 12, none);
  log.append({ step: 13, loss: 1, lr: 1, gradNorm: 1, tokens: 416, term: 2, tokensPerSecond: 1, ranks: [] });
  await log.flush();
  expect((await readRun(folder)).steps.step.at(-1)).toBe(13);
});

it.each([
  [null],
  [7],
  ['epoch'],
  [[1]],
  [{ kind: 'commit', term: 3 }],
  [{ kind: 'run', format: 2 }],
  [{ event: 'lost' }],
  [{ step: 1, term: 7, epoch: 0.5 }],
])('leaves %j as it is', (value) => expect(inTodaysWords(value)).toEqual(value));
