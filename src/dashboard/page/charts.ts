/** The curves: one chart for each, all runs in it, the same steps in view everywhere. */
import uPlot from 'uplot';
import { type ChartKind, indexFor, linesOf, shownKinds, tablesOf } from './curves.ts';
import { element, readable } from './format.ts';
import { Readout } from './readout.ts';
import type { RunState } from './runState.ts';

/** Pixels. On a phone the loss leaves room for what is below it. */
const heights = { main: 300, mainOnPhone: 200, other: 190 } as const;
const phoneWidth = 480;

export interface ChartOptions {
  readonly logarithmic: boolean;
  readonly smooth: boolean;
}

/** Where the charts are put. */
export interface ChartPlaces {
  /** For the loss. */
  readonly main: HTMLElement;
  readonly others: HTMLElement;
}

interface Chart {
  readonly kind: ChartKind;
  readonly box: HTMLElement;
  readonly readout: Readout;
  readonly plot: uPlot;
  isInView: boolean;
  /** It shows the newest data. */
  isDrawn: boolean;
}

export class Charts {
  readonly #places: ChartPlaces;
  #charts: Chart[] = [];
  #shape = '';
  #runs: readonly RunState[] = [];
  #options: ChartOptions = { logarithmic: false, smooth: false };
  readonly #inView = new IntersectionObserver((entries) => this.#look(entries), { rootMargin: '100px' });
  readonly #sizes = new ResizeObserver(() => this.#resize());

  constructor(places: ChartPlaces) {
    this.#places = places;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      this.#shape = '';
    });
  }

  /** Those in view now, the others when they come into view. */
  draw(runs: readonly RunState[], options: ChartOptions): void {
    if (runs.length === 0) return;
    this.#runs = runs;
    this.#options = options;
    const shown = shownKinds(runs);
    const shape = JSON.stringify([runs.map(({ name }) => name), shown.map(({ title }) => title), options.logarithmic]);
    if (shape !== this.#shape) this.#build(shown);
    this.#shape = shape;
    for (const chart of this.#charts) {
      chart.isDrawn = false;
      if (chart.isInView) this.#drawChart(chart);
    }
  }

  #drawChart(chart: Chart): void {
    chart.plot.setData(uPlot.join(tablesOf(chart.kind, this.#runs, this.#options.smooth)));
    chart.readout.show(chart.plot);
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
      this.#sizes.unobserve(box);
      plot.destroy();
      box.remove();
    }
    this.#charts = shown.map((kind) => {
      const readout = new Readout(kind.title, linesOf(kind, this.#runs));
      const picture = element('div');
      picture.setAttribute('role', 'img');
      picture.setAttribute('aria-label', `${kind.title} by step`);
      const box = element('div', 'chart', readout.head, picture);
      (isMain(kind) ? this.#places.main : this.#places.others).append(box);
      const plot = new uPlot(this.#plotOptions(kind, box, readout), [[]], picture);
      this.#inView.observe(box);
      this.#sizes.observe(box);
      return { kind, box, readout, plot, isInView: false, isDrawn: false };
    });
  }

  #plotOptions(kind: ChartKind, box: HTMLElement, readout: Readout): uPlot.Options {
    const logarithmic = this.#options.logarithmic && isMain(kind);
    const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--grid'), width: 1 }, ticks: { show: false } };
    const lines = linesOf(kind, this.#runs);
    const series = lines.map(({ isValidation, colour: index }): uPlot.Series => {
      const stroke = colour(`--series-${index}`);
      if (!isValidation) return { stroke, width: 1.5 };
      return { stroke, width: 2, dash: [6, 4], spanGaps: true, points: { show: true, size: 6 } };
    });
    const width = widthOf(box);
    return {
      width,
      height: heightOf(kind, width),
      series: [{}, ...series],
      scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
      axes: [
        { ...axis, size: 30 },
        { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : readable(tick))) },
      ],
      cursor: {
        sync: { key: 'steps' },
        dataIdx: ({ data }, i, index) => (i === 0 ? index : indexFor(lines[i - 1]!, data[i] ?? [], index)),
      },
      legend: { show: false },
      hooks: {
        setCursor: [(plot) => readout.show(plot)],
        draw: kind.marks === true ? [(plot) => this.#drawMarks(plot)] : [],
      },
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
    for (const { kind, box, plot } of this.#charts) {
      const width = widthOf(box);
      if (Math.abs(width - plot.width) > 1) plot.setSize({ width, height: heightOf(kind, width) });
    }
  }
}

function isMain({ validation }: ChartKind): boolean {
  return validation === true;
}

function heightOf(kind: ChartKind, width: number): number {
  if (!isMain(kind)) return heights.other;
  return width < phoneWidth ? heights.mainOnPhone : heights.main;
}

function colour(variable: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}

function widthOf(box: HTMLElement): number {
  const { paddingLeft, paddingRight } = getComputedStyle(box);
  return Math.max(160, box.clientWidth - Number.parseFloat(paddingLeft) - Number.parseFloat(paddingRight));
}
