/** `launch report`: the contents of a run directory, as one page. */
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { messageOf, UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { eventText, withoutRepeats } from '../records/eventText.ts';
import { phaseNames } from '../records/rankTimes.ts';
import { metricNames, type RunRecord } from '../records/runRecord.ts';
import { barChart } from './barChart.ts';
import { escaped } from './markup.ts';
import { figure, htmlTable, pageEnd, pageHead } from './page.ts';
import { hasMetric, runChart } from './runChart.ts';
import { phaseSeries } from './theme.ts';

/** Names and values. */
export type Facts = readonly (readonly [name: string, value: string])[];

/**
 * Writes section after section, so that the page of a long run is never held in memory completely.
 * @param machine where the report is made
 * @throws UserError if it cannot be written
 */
export async function writeRunReport(path: string, run: RunRecord, machine: Facts): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await pipeline(Readable.from(sections(run, machine)), createWriteStream(path));
  } catch (error) {
    throw new UserError(`cannot write ${path}: ${messageOf(error)}`);
  }
}

function* sections(run: RunRecord, machine: Facts): Generator<string> {
  yield pageHead(run.name, run.path);
  yield section('Summary', htmlTable([], summaryOf(run)));
  yield* curves(run);
  yield* timings(run);
  yield* samples(run);
  yield* events(run);
  if (run.config !== undefined)
    yield section('Configuration', `<div class="scroll"><pre>${escaped(run.config)}</pre></div>`);
  yield section('Report made on', htmlTable([], machine));
  yield pageEnd;
}

function section(title: string, body: string): string {
  return `<section><h2>${escaped(title)}</h2>${body}</section>\n`;
}

function summaryOf({ steps, tokens, workers, evaluations, events, rankTimes, badLines }: RunRecord): Facts {
  const [best] = evaluations.toSorted((a, b) => a.valLoss - b.valLoss);
  const lost = events.filter(({ event }) => event === 'lost').length;
  const end = events.findLast(({ event }) => event === 'finished' || event === 'failed');
  const facts: [string, string | undefined][] = [
    ['steps', grouped(steps.step.at(-1) ?? 0)],
    ['tokens', grouped(tokens)],
    ['last loss', steps.loss.at(-1)?.toFixed(4)],
    ['best validation loss', best && `${best.valLoss.toFixed(4)} at step ${grouped(best.step)}`],
    ['bits per byte there', best?.valBitsPerByte?.toFixed(4)],
    ['workers', String(workers)],
    ['workers lost', lost > 0 ? String(lost) : undefined],
    ['a step', millis(rankTimes.stepQuantileMs(0.5), rankTimes.stepQuantileMs(0.95))],
    ['began', events[0]?.time],
    ['ended', end && `${end.time}: ${end.reason}`],
    ['unreadable lines', badLines > 0 ? String(badLines) : undefined],
  ];
  return facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
}

function millis(median: number, p95: number): string | undefined {
  if (Number.isNaN(median)) return undefined;
  return `${Number(median.toPrecision(3))} ms (median), 95 % within ${Number(p95.toPrecision(3))} ms`;
}

function* curves(run: RunRecord): Generator<string> {
  yield '<section class="charts">';
  for (const metric of metricNames) {
    // It is drawn with the loss.
    if (metric === 'valLoss' || !hasMetric(run, metric)) continue;
    yield figure({ width: 640, height: 360 }, (size) => runChart([run], { metric, inPage: true, ...size }));
  }
  yield '</section>';
}

function* timings({ rankTimes: { ranks } }: RunRecord): Generator<string> {
  if (ranks.length === 0) return;
  const headings = ['rank', 'steps', ...phaseNames, 'median', 'p95'];
  const rows = ranks.map(({ rank, steps, meanMs, p50Ms, p95Ms }) => [
    String(rank),
    grouped(steps),
    ...[...meanMs, p50Ms, p95Ms].map((ms) => ms.toFixed(2)),
  ]);
  const chart = {
    title: 'Where a step goes',
    subtitle: 'mean of all steps that a rank took part in',
    xLabel: 'rank',
    y: { label: 'ms' },
    parts: phaseNames,
    series: phaseSeries,
    bars: ranks.map(({ rank, meanMs }) => ({ name: String(rank), values: meanMs })),
  };
  const picture = figure({ width: 1_080, height: 400 }, (size) => barChart({ ...chart, ...size }, { inPage: true }));
  const note =
    'Milliseconds of a step: means; the median and 95th percentile are of all phases together. “Rest” is what a step takes beyond the phases.' +
    (ranks.some(({ rank }) => typeof rank === 'string') ? manyRanks : '');
  yield section('Timings', `${picture}<br>${htmlTable(headings, rows)}<p>${note}</p>`);
}

const manyRanks =
  ' Steps of more than 16 ranks have two rows: the median of each phase over the ranks, and the slowest rank of each step.';

function* samples(run: RunRecord): Generator<string> {
  if (run.samples.length === 0) return;
  yield '<section><h2>Samples</h2>';
  for (const [i, { step, prompt, text }] of run.samples.entries()) {
    const open = i === run.samples.length - 1 ? ' open' : '';
    // The text may or may not start with its prompt.
    const rest = text.startsWith(prompt) ? text.slice(prompt.length) : text;
    yield `<details${open}><summary>step ${grouped(step)}</summary><div class="scroll"><pre><span class="prompt">${escaped(prompt)}</span>${escaped(rest)}</pre></div></details>\n`;
  }
  yield '</section>';
}

function* events({ events: lines, eventsLeftOut }: RunRecord): Generator<string> {
  if (lines.length === 0) return;
  const rows = withoutRepeats(lines).map((line) => [
    line.time.replace('T', ' ').replace(/\.\d+Z$/, 'Z'),
    grouped(line.step),
    line.event,
    eventText(line),
  ]);
  const left = eventsLeftOut > 0 ? `<p>${grouped(eventsLeftOut)} earlier ones are not shown.</p>` : '';
  yield section('Events', left + htmlTable(['time', 'step', 'event', 'reason'], rows));
}
