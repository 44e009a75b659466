/** The output of `launch bench scaling`: rows for a terminal, pictures, and a page. */
import { grouped } from '../base/numberText.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { phaseNames } from '../records/rankTimes.ts';
import { barChart } from '../report/barChart.ts';
import { type LineSeries, lineChart } from '../report/lineChart.ts';
import { type ChartSize, figure, htmlTable, pageEnd, pageHead } from '../report/page.ts';
import { phaseSeries } from '../report/theme.ts';
import { renderHost } from './machine.ts';
import type { ScalingHead, ScalingMode, ScalingReport, ScalingResult } from './scalingBench.ts';
import { fixed, numberColumn, percent, tableHeading, tableRow, textColumn } from './table.ts';

const columns = [
  textColumn('scaling', ['strong']),
  numberColumn('workers'),
  numberColumn('samples'),
  numberColumn('tokens/s', 9),
  numberColumn('efficiency'),
  numberColumn('step ms', 8),
  numberColumn('quartiles', 15),
  numberColumn('ring alone ms'),
  numberColumn('communication'),
  numberColumn('overlap won'),
];

const phaseColumns = [
  textColumn('scaling', ['strong']),
  numberColumn('workers'),
  ...phaseNames.map((name) => numberColumn(name, 7)),
];

export function renderScalingHead(head: ScalingHead): string {
  return `${renderHost(head.machine)}${headline(head)}\n\n${tableHeading(columns)}\n`;
}

/** One sentence about what was measured. */
function headline({ device, engine, gradientMB, blockSize, steps }: ScalingHead): string {
  const what = device === 'simulated' ? `${engine} (compute is a timed wait)` : `real device: ${engine}`;
  return `${what}; ${gradientMB.toFixed(1)} MB of gradients, ${blockSize} tokens a sample; medians of ${steps} steps`;
}

export function renderScalingRow(result: ScalingResult): string {
  return `${tableRow(columns, cellsOf(result))}\n`;
}

function cellsOf(result: ScalingResult): string[] {
  const [low, high] = result.stepQuartilesMs;
  return [
    result.mode,
    String(result.workers),
    String(result.globalBatchSize),
    grouped(Math.round(result.tokensPerSecond)),
    percent(result.efficiency),
    fixed(result.stepMs, 1),
    `${fixed(low, 1)} - ${fixed(high, 1)}`,
    fixed(result.ringAloneMs, 1),
    percent(result.communicationShare),
    percent(result.overlapWon),
  ];
}

/** Where the time of a step was spent. */
export function renderScalingPhases({ results }: ScalingReport): string {
  const rows = results.map((result) => tableRow(phaseColumns, phaseCells(result)));
  return `\nms of a step, mean of the ranks, medians:\n${[tableHeading(phaseColumns), ...rows].join('\n')}\n`;
}

function phaseCells({ mode, workers, phaseMs }: ScalingResult): string[] {
  return [mode, String(workers), ...phaseMs.map((ms) => fixed(ms, 2))];
}

export interface Picture {
  /** File name without its extension. */
  readonly name: string;
  readonly svg: string;
}

/** @param pageSize the size, for a page that has the charts' style sheet */
export function scalingPictures(report: ScalingReport, pageSize?: ChartSize): Picture[] {
  const modes = [...new Set(report.results.map(({ mode }) => mode))];
  const of = (mode: ScalingMode) => report.results.filter((result) => result.mode === mode);
  const counts = [...new Set(report.results.map(({ workers }) => workers))].sort((a, b) => a - b);
  const inPage = pageSize !== undefined;
  const subtitle = subtitleOf(report);
  const x = { label: 'workers', isLog: true, ticks: counts };
  const lines = (value: (result: ScalingResult) => number | undefined): LineSeries[] =>
    modes.map((mode) => ({
      name: `${mode} scaling`,
      points: of(mode).map((result) => [result.workers, value(result) ?? Number.NaN] as const),
      hasDots: true,
    }));
  // Strong and weak scaling have the same ideal only if they start alike; a line for each would say no more.
  const ideal: LineSeries[] = modes.slice(0, 1).map((mode) => ({
    name: 'no loss',
    points: of(mode).map(
      ({ workers, tokensPerSecond, efficiency }) => [workers, tokensPerSecond / efficiency] as const,
    ),
    isDashed: true,
    colour: 6,
  }));
  const share = { isPercent: true, include: [0, 1] };
  const chart = (
    title: string,
    y: { label: string; isLog?: boolean; isPercent?: boolean; include?: number[] },
    series: LineSeries[],
  ) => lineChart({ title, subtitle, x, y, series, ...pageSize }, { inPage });
  return [
    {
      name: 'tokens',
      svg: chart('Speed by number of workers', { label: 'tokens/s', isLog: true }, [
        ...lines((r) => r.tokensPerSecond),
        ...ideal,
      ]),
    },
    {
      name: 'efficiency',
      svg: chart(
        'Efficiency by number of workers',
        { label: 'of the speed without loss', ...share },
        lines((r) => r.efficiency),
      ),
    },
    {
      name: 'communication',
      svg: chart(
        'Share of a step that waits for the ring',
        { label: 'of a step', isPercent: true, include: [0, 0.1] },
        lines((r) => r.communicationShare),
      ),
    },
    {
      name: 'overlap',
      svg: chart(
        'Overlap won: the all-reduce hidden behind backward',
        { label: 'of the all-reduce alone', ...share },
        lines((r) => r.overlapWon),
      ),
    },
    ...modes.map((mode) => ({
      name: `phases-${mode}`,
      svg: barChart(
        {
          title: `Where a step goes, ${mode} scaling`,
          subtitle,
          xLabel: 'workers',
          y: { label: 'ms' },
          parts: phaseNames,
          series: phaseSeries,
          ...pageSize,
          bars: of(mode).map(({ workers, phaseMs }) => ({ name: String(workers), values: phaseMs })),
        },
        { inPage },
      ),
    })),
  ];
}

function subtitleOf({ device, computeMs, engine, gradientMB, machine }: ScalingReport): string {
  const what = device === 'simulated' ? `simulated device, ${computeMs} ms a sample` : `real device: ${engine}`;
  return `${what}; ${gradientMB.toFixed(1)} MB of gradients, ${machine.cores} cores`;
}

/** A self-contained page. */
export function scalingPage(report: ScalingReport): string {
  const { machine, device, engine, gradientMB, blockSize, steps, results } = report;
  const facts = [
    ['device', device === 'simulated' ? `${engine}: compute is a timed wait, all else is real` : engine],
    ['gradients', `${gradientMB.toFixed(1)} MB, float32`],
    ['samples', `${blockSize} tokens each`],
    ['steps timed', String(steps)],
    ['processor', `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB`],
    ['system', `${machine.os}, Node.js ${machine.node}`],
    ['Lockstep', `${machine.lockstep}${machine.commit === undefined ? '' : `, commit ${machine.commit}`}`],
  ];
  const pictures = scalingPictures(report).map((_, i) =>
    figure({ width: 640, height: 380 }, (size) => scalingPictures(report, size)[i]!.svg),
  );
  const headings = columns.map(({ heading }) => heading);
  return [
    pageHead(`Scaling, ${device} device`, ownCommand('bench', 'scaling')),
    `<section><h2>Measured on</h2>${htmlTable([], facts)}</section>`,
    `<section><h2>Results</h2>${htmlTable(headings, results.map(cellsOf))}<p>Medians; the quartiles are of the time of a step.</p></section>`,
    `<section class="charts">${pictures.join('')}</section>`,
    `<section><h2>Milliseconds of a step</h2>${htmlTable(['scaling', 'workers', ...phaseNames], results.map(phaseCells))}</section>`,
    pageEnd,
  ].join('\n');
}
