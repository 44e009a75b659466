/** The curves: one chart for each, all runs in it, the same steps in view everywhere. */
import uPlot from 'uplot';
import type { SentPoint } from '../runUpdate.ts';
import { element, short } from './format.ts';
import type { RunState } from './runState.ts';

interface ChartKind {
  readonly title: string;
  /** JSON has no NaN: what is not known comes as null. */
  readonly values: (point: SentPoint) => number | null;
  /** The validation loss beside it. */
  readonly validation?: boolean;
  /** Workers that are lost, as marks. */
  readonly marks?: boolean;
  /** Not every machine knows it: no chart where no run has any. */
  readonly optional?: boolean;
}

const kinds: readonly ChartKind[] = [
  { title: 'Loss', values: ({ loss }) => loss, validation: true, marks: true },
  { title: 'Tokens per second', values: ({ tokensPerSecond }) => tokensPerSecond },
  { title: 'MFU, per cent of what the machines can do', values: ({ mfu }) => percentOf(mfu), optional: true },
  { title: 'Gradient norm', values: ({ gradNorm }) => gradNorm },
  { title: 'Learning rate', values: ({ lr }) => lr },
  { title: 'Ring, bytes sent per rank and second', values: ({ ringBytesPerSecond }) => ringBytesPerSecond },
];
const seriesColours = 6;
/** Weight of the newest point of a curve that is smoothed. */
const smoothWeight = 0.1;

export interface ChartOptions {
  readonly logarithmic: boolean;
  readonly smooth: boolean;
}

interface Chart {
  readonly kind: ChartKind;
  readonly box: HTMLElement;
  readonly plot: uPlot;
  isInView: boolean;
  /** It shows the newest data. */
  isDrawn: boolean;
}

export class Charts {
  readonly #parent: HTMLElement;
  #charts: Chart[] = [];
  #shape = '';
  #runs: readonly RunState[] = [];
  #options: ChartOptions = { logarithmic: false, smooth: false };
  readonly #inView = new IntersectionObserver((entries) => this.#look(entries), { rootMargin: '100px' });

  constructor(parent: HTMLElement) {
    this.#parent = parent;
    new ResizeObserver(() => this.#resize()).observe(parent);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      this.#shape = '';
    });
  }

  /** Those in view now, the others when they come into view. */
  draw(runs: readonly RunState[], options: ChartOptions): void {
    this.#runs = runs;
    this.#options = options;
    const shown = kinds.filter(({ optional, values }) => optional !== true || hasAny(runs, values));
    const shape = JSON.stringify([runs.map(({ name }) => name), shown.map(({ title }) => title), options.logarithmic]);
    if (shape !== this.#shape) this.#build(shown);
    this.#shape = shape;
    for (const chart of this.#charts) {
      chart.isDrawn = false;
      if (chart.isInView) this.#drawChart(chart);
    }
  }

  #drawChart(chart: Chart): void {
    chart.plot.setData(dataOf(chart.kind, this.#runs, this.#options));
    chart.isDrawn = true;
  }

  #look(entries: readonly IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of entries) {
      const chart = this.#charts.find(({ box }) => box === target);
      if (chart === undefined) continue;
      if (isIntersecting && !chart.isDrawn) this.#drawChart(chart);
      chart.isInView = isIntersecting;
    }
  }

  #build(shown: readonly ChartKind[]): void {
    for (const { plot, box } of this.#charts) {
      this.#inView.unobserve(box);
      plot.destroy();
      box.remove();
    }
    this.#charts = shown.map((kind) => {
      const box = element('div', kind.validation === true ? 'chart wide' : 'chart');
      box.setAttribute('role', 'img');
      box.setAttribute('aria-label', `${kind.title} by step`);
      this.#parent.append(box);
      const plot = new uPlot(this.#plotOptions(kind, box), [[]], box);
      this.#inView.observe(box);
      return { kind, box, plot, isInView: false, isDrawn: false };
    });
  }

  #plotOptions(kind: ChartKind, box: HTMLElement): uPlot.Options {
    const logarithmic = this.#options.logarithmic && kind.validation === true;
    const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--grid'), width: 1 }, ticks: { show: false } };
    const series: uPlot.Series[] = [{ label: 'step', value: (_, step) => short(step ?? undefined) }];
    for (const [i, { name }] of this.#runs.entries()) {
      const stroke = colour(`--series-${i % seriesColours}`);
      const label = this.#runs.length > 1 ? name : kind.title.toLowerCase();
      series.push({ label, stroke, width: 1.5, value: (_, value) => readable(value) });
      if (kind.validation === true) {
        // Alone it has a colour of its own; among others that of its run.
        const own = this.#runs.length > 1 ? stroke : colour('--series-1');
        series.push({
          label: this.#runs.length > 1 ? `${name}, validation` : 'validation loss',
          stroke: own,
          width: 2,
          dash: [6, 4],
          spanGaps: true,
          points: { show: true, size: 6 },
          value: (_, value) => readable(value),
        });
      }
    }
    return {
      title: kind.title,
      width: widthOf(box),
      height: kind.validation === true ? 320 : 220,
      series,
      scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
      axes: [
        { ...axis, size: 30 },
        { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : readable(tick))) },
      ],
      cursor: { sync: { key: 'steps' } },
      legend: { markers: { dash: (_, i) => (series[i]?.dash === undefined ? 'solid' : 'dashed') } },
      hooks: kind.marks === true ? { draw: [(plot) => this.#drawMarks(plot)] } : {},
    };
  }

  /** A line wherever a worker was lost. */
  #drawMarks({ ctx, bbox, valToPos, scales }: uPlot): void {
    ctx.save();
    ctx.strokeStyle = colour('--bad');
    ctx.setLineDash([3, 3]);
    ctx.beginPath();
    for (const { step } of this.#runs.flatMap(({ events }) => events).filter(({ event }) => event === 'lost')) {
      const { min = 0, max = 0 } = scales['x'] ?? {};
      if (min === null || max === null || step < min || step > max) continue;
      const x = valToPos(step, 'x', true);
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
    }
    ctx.stroke();
    ctx.restore();
  }

  #resize(): void {
    for (const { box, plot } of this.#charts) {
      const width = widthOf(box);
      if (Math.abs(width - plot.width) > 1) plot.setSize({ width, height: plot.height });
    }
  }
}

function percentOf(share: number | null): number | null {
  return share === null ? null : 100 * share;
}

function hasAny(runs: readonly RunState[], values: ChartKind['values']): boolean {
  return runs.some(({ points }) => points.some((point) => Number.isFinite(values(point))));
}

/** Steps of all runs, then of each run its values there. */
function dataOf(kind: ChartKind, runs: readonly RunState[], { smooth }: ChartOptions): uPlot.AlignedData {
  const tables = runs.flatMap((run): uPlot.AlignedData[] => {
    const values = run.points.map(kind.values);
    const own: uPlot.AlignedData = [run.points.map(({ step }) => step), smooth ? smoothed(values) : values];
    if (kind.validation !== true) return [own];
    return [own, [run.validations.map(({ step }) => step), run.validations.map(({ valLoss }) => valLoss)]];
  });
  return uPlot.join(tables);
}

function smoothed(values: readonly (number | null)[]): (number | null)[] {
  let mean: number | undefined;
  return values.map((value) => {
    if (value === null) return null;
    mean = mean === undefined ? value : mean + smoothWeight * (value - mean);
    return mean;
  });
}

/** 12.5K, 100K, 1.2M. */
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

function readable(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  const size = Math.abs(value);
  if (size >= 10_000) return compact.format(value);
  if (size === 0) return '0';
  return size < 0.01 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
}

function colour(variable: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}

function widthOf(box: HTMLElement): number {
  const { paddingLeft, paddingRight } = getComputedStyle(box);
  return Math.max(160, box.clientWidth - Number.parseFloat(paddingLeft) - Number.parseFloat(paddingRight));
}
