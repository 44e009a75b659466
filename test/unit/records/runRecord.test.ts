/** Reading of run directories, long and torn ones too, and the page made of one. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { eventText, withoutRepeats } from '../../../src/records/eventText.ts';
import { RankTimes } from '../../../src/records/rankTimes.ts';
import { readRun } from '../../../src/records/runRecord.ts';
import { runChart, smoothed } from '../../../src/report/runChart.ts';
import { writeRunReport } from '../../../src/report/runReport.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-report-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function stepLine(step: number, ranks = 2): string {
  const times = { dataWaitMs: 1, forwardBackwardMs: 50, ringWaitMs: 10, commitWaitMs: 2, optimizerMs: 3 };
  return JSON.stringify({
    ...{
      step,
      loss: 1 + 4 / Math.sqrt(step),
      lr: 1e-3,
      gradNorm: 1,
      tokens: 1_000 * step,
      term: 1,
      tokensPerSecond: 1e6 / 80,
    },
    ranks: Array.from({ length: ranks }, (_, rank) => ({ rank, sampleFrom: rank, sampleCount: 1, ...times })),
  });
}

async function write(name: string, lines: readonly string[]): Promise<void> {
  await writeFile(join(folder, name), lines.join('\n'));
}

describe('readRun', () => {
  it('reads steps, evaluations, events and samples, and counts what is torn', async () => {
    const committed = JSON.stringify({
      step: 2,
      loss: 3,
      lr: 0.1,
      gradNorm: 1,
      tokens: 2_000,
      term: 1,
      ranks: [{ rank: 0, sampleFrom: 0, sampleCount: 1 }],
    });
    const evaluation = JSON.stringify({ step: 2, valLoss: 2.5, valPerplexity: 12.2, valTargets: 10 });
    await write('metrics.jsonl', [stepLine(1), committed, evaluation, stepLine(3), '{"step":4,"lo']);
    const time = '2026-01-01T00:00:00.000Z';
    await write('events.jsonl', [
      JSON.stringify({ time, event: 'lost', reason: 'gone', term: 1, step: 2, rank: 1 }),
      'x',
      '',
    ]);
    await write('samples.jsonl', [JSON.stringify({ step: 3, prompt: 'a', text: 'ab' })]);
    const run = await readRun(folder);
    expect(run.steps.step).toEqual([1, 2, 3]);
    expect(run.steps.tokensPerSecond[1]).toBeNaN();
    expect(run.steps.mfu.every(Number.isNaN)).toBe(true);
    expect(run.evaluations).toMatchObject([{ step: 2, valLoss: 2.5 }]);
    expect(run.events).toMatchObject([{ event: 'lost', rank: 1 }]);
    expect(run.samples).toEqual([{ step: 3, prompt: 'a', text: 'ab' }]);
    expect(run.badLines).toBe(2);
    expect(run.rankTimes.ranks).toMatchObject([{ rank: 0, steps: 2, meanMs: [1, 50, 10, 2, 3, 14] }, { rank: 1 }]);
  });

  it('takes no step for longer than it was where lines before it are missing, as after a disk that was full', async () => {
    await write('metrics.jsonl', [stepLine(41), stepLine(42), stepLine(90), stepLine(91)]);
    const { rankTimes } = await readRun(folder);
    expect(rankTimes.ranks).toMatchObject([{ steps: 2, meanMs: [1, 50, 10, 2, 3, 14] }, { steps: 2 }]);
    expect(rankTimes.stepQuantileMs(0.95)).toBeCloseTo(80, 9);
  });

  it('keeps the steps of a run that diverged, whose loss JSON cannot say', async () => {
    const diverged = JSON.stringify({
      ...JSON.parse(stepLine(2)),
      loss: Number.NaN,
      gradNorm: Number.POSITIVE_INFINITY,
    });
    await write('metrics.jsonl', [stepLine(1), diverged]);
    const run = await readRun(folder);
    expect(run.steps.step).toEqual([1, 2]);
    expect(run.steps.loss[1]).toBeNaN();
    expect(run.badLines).toBe(0);
  });

  it('says what was expected where there is no run', async () => {
    await expect(readRun(folder)).rejects.toThrow(/expected a run directory.*metrics\.jsonl does not exist/);
  });
});

describe('events as people read them', () => {
  const line = (event: string, reason: string, more: object = {}) => ({ time: '', step: 1, event, reason, ...more });

  it('leave out a membership that the loss before it has told of, and causes that are in the reason', () => {
    const lost = line('lost', 'rank 1 was killed', { cause: 'was killed', action: '1 worker continues' });
    const silent = line('lost', 'rank 1 is gone', { cause: 'silent for 10 s' });
    const restart = line('restart', 'started again');
    const told = line('term', 'it was killed, and one continues', { isTold: true });
    const other = line('term', 'local-0001 joined: 2 workers continue');
    expect(withoutRepeats([lost, restart, told, silent, other])).toEqual([lost, restart, silent, other]);
    expect([lost, silent].map(eventText)).toEqual([
      'rank 1 was killed; 1 worker continues',
      'rank 1 is gone; silent for 10 s',
    ]);
  });
});

describe('writeRunReport', () => {
  it('escapes whatever a run says, asks for nothing, and stays small for a long run', async () => {
    const evil = '<script>alert(1)</script><img src=x onerror=y>';
    await write(
      'metrics.jsonl',
      Array.from({ length: 100_000 }, (_, i) => stepLine(i + 1)),
    );
    await write('config.yaml', [`name: ${evil}`]);
    await write('samples.jsonl', [JSON.stringify({ step: 3, prompt: evil, text: `${evil} more` })]);
    const event = { time: '2026-01-01T00:00:00.000Z', event: 'warning', reason: evil, term: 1, step: 2 };
    await write(
      'events.jsonl',
      Array.from({ length: 3_000 }, () => JSON.stringify(event)),
    );
    const out = join(folder, 'sub/report.html');
    await writeRunReport(out, await readRun(folder), [['processor', evil]]);
    const page = await readFile(out, 'utf8');
    expect(page).not.toMatch(/<script|<img|<link|href=|src=(?!x onerror)|url\(|@import/);
    expect(page).toContain(`default-src 'none'`);
    expect(page).toContain('prefers-color-scheme:dark');
    expect(page).toContain('1,000 earlier ones are not shown');
    expect(page).toContain('100,000');
    expect(page).toMatch(/<\/html>\n$/);
    expect((await stat(out)).size).toBeLessThan(1.2e6);
  });
});

describe('runChart', () => {
  it('calls runs of one name by their paths, and draws the losses of evaluations with a run alone', async () => {
    await write('metrics.jsonl', [stepLine(1), stepLine(2), JSON.stringify({ step: 2, valLoss: 2 })]);
    const run = await readRun(folder);
    const alone = runChart([run], { metric: 'loss' });
    expect(alone).toContain('>validation<');
    const two = runChart([run, { ...run, path: '/elsewhere' }], { metric: 'loss', smoothing: 0.5 });
    expect(two).toContain('>/elsewhere<');
    expect(two.match(/stroke-opacity="0.3"/g)).toHaveLength(2);
  });

  it('smooths without a bias towards 0, over what is missing', () => {
    expect(
      smoothed(
        [
          [1, 4],
          [2, 4],
          [3, 4],
        ],
        0.9,
      ),
    ).toEqual([
      [1, 4],
      [2, expect.closeTo(4, 9)],
      [3, expect.closeTo(4, 9)],
    ]);
    expect(
      smoothed(
        [
          [1, 0],
          [2, Number.NaN],
          [3, 3],
        ],
        0.5,
      )[2],
    ).toEqual([3, 2]);
  });
});

describe('RankTimes', () => {
  it('keeps medians of a long run in bounded memory', () => {
    const times = new RankTimes();
    for (let i = 0; i < 50_000; i++) {
      const one = { dataWaitMs: 0, forwardBackwardMs: i % 100, ringWaitMs: 0, commitWaitMs: 0, optimizerMs: 0 };
      times.add(100, 1_000, [{ rank: 0, ...one }]);
    }
    const [rank] = times.ranks;
    expect(rank?.steps).toBe(50_000);
    expect(rank?.meanMs[1]).toBeCloseTo(49.5, 9);
    expect(Math.abs(rank!.p50Ms - 49.5)).toBeLessThan(5);
    expect(times.stepQuantileMs(0.5)).toBe(100);
  });
});
