import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exposition } from '../../../src/dashboard/exposition.ts';
import { RunView } from '../../../src/dashboard/runView.ts';
import { MetricsLog } from '../../../src/records/metricsLog.ts';
import { metricsLine, type RankMetrics } from '../../../src/records/rankSummary.ts';
import { parseLine } from '../../../src/records/runLines.ts';
import { readRun } from '../../../src/records/runRecord.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-summary-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Numbers with all the digits that a double has. */
const rankOf = (rank: number): RankMetrics => ({
  rank,
  sampleFrom: 2 * rank,
  sampleCount: 2,
  dataWaitMs: 0.1 + rank / 7,
  forwardBackwardMs: 100 / 3 + (rank === 9 ? 1_000 : 0),
  ringWaitMs: 10 / 3,
  commitWaitMs: 20 / 3,
  optimizerMs: 2 / 3,
  ringBytesSent: 1_000_000 + rank,
});
const stepOf = (step: number, count: number) => ({
  ...{ step, loss: 1 / 3, lr: 1e-4 / 3, gradNorm: 2 / 3, tokens: 1_000 * step, term: 1, tokensPerSecond: 2e5 / 3 },
  ranks: Array.from({ length: count }, (_, rank) => rankOf(rank)),
  parameterHash: 'a'.repeat(64),
});

describe('a line of metrics.jsonl', () => {
  it('is as it was up to 16 ranks', () => {
    const line = stepOf(1, 16);
    expect(metricsLine(line)).toBe(line);
  });

  it.each([17, 256, 1_024])('has a summary of %d ranks in less than 2 KB', (count) => {
    const line = metricsLine(stepOf(1, count));
    expect(JSON.stringify(line).length).toBeLessThan(2_048);
    expect(Object.keys(line).slice(-3)).toEqual(['tokensPerSecond', 'rankSummary', 'parameterHash']);
    expect(line).toMatchObject({
      rankSummary: {
        count,
        min: { sampleCount: 2, dataWaitMs: 0.1, ringBytesSent: 1_000_000 },
        median: { dataWaitMs: 0.1 + (count - 1) / 14, forwardBackwardMs: 100 / 3 },
        max: { forwardBackwardMs: 100 / 3 + 1_000, ringBytesSent: 1_000_000 + count - 1 },
        slowest: rankOf(9),
      },
    });
  });

  it('has no slowest rank if no rank told its times', () => {
    const ranks = Array.from({ length: 17 }, (_, rank) => ({ rank, sampleFrom: rank, sampleCount: 1 }));
    const one = { sampleCount: 1 };
    expect(metricsLine({ step: 1, ranks })).toEqual({
      step: 1,
      rankSummary: { count: 17, min: one, median: one, max: one },
    });
  });

  it('needs one of both forms', () => {
    const { ranks, ...rest } = stepOf(1, 2);
    expect(parseLine(JSON.stringify({ ...rest, ranks }))?.kind).toBe('step');
    expect(parseLine(JSON.stringify(rest))).toBeUndefined();
  });
});

it('is read in both forms from one file, also where a killed coordinator left the journal alone', async () => {
  const path = join(folder, 'metrics.jsonl');
  const log = await MetricsLog.open(path, 0, () => {});
  for (const [step, count] of [2, 256, 256].entries()) log.append(stepOf(step + 1, count));
  await log.flush();
  await MetricsLog.open(path, 4, () => {}, [stepOf(4, 20)]);
  const lines = (await readFile(path, 'utf8')).trim().split('\n');
  expect(lines).toHaveLength(4);
  expect(lines[0]).toBe(JSON.stringify(stepOf(1, 2)));
  expect(lines[3]).toContain('"rankSummary":{"count":20,"min":{"sampleCount":2}');

  const run = await readRun(folder);
  expect(run).toMatchObject({ workers: 256, badLines: 0 });
  expect(run.rankTimes.ranks).toMatchObject([
    { rank: 0, steps: 1 },
    { rank: 1, steps: 1 },
    { rank: 'median', steps: 2, meanMs: expect.arrayContaining([100 / 3]) },
    { rank: 'slowest', steps: 2, meanMs: expect.arrayContaining([100 / 3 + 1_000]) },
  ]);

  await MetricsLog.open(path, 3, () => {});
  const view = new RunView(folder);
  await view.refresh();
  const text = exposition([view]);
  expect(text).toMatch(/lockstep_workers\{.*\} 256\n/);
  expect(text).toMatch(/lockstep_phase_seconds\{run=".*",rank="median",phase="forwardBackward"\} 0\.0333/);
  expect(text).toMatch(/lockstep_phase_seconds\{run=".*",rank="slowest",phase="forwardBackward"\} 1\.0333/);
});
