/** Line charts: several series over one horizontal axis. */
import { type Axis, type AxisSpec, axisOf } from './axes.ts';
import { downsample } from './downsample.ts';
import {
  type Frame,
  type FrameSpec,
  horizontalAxis,
  type LegendEntry,
  layFrame,
  round,
  svgOf,
  text,
  tickCountsOf,
  verticalAxis,
} from './frame.ts';
import { pathThrough } from './scales.ts';
import { filledSeries, stroked, strokedSeries } from './theme.ts';

export type Point = readonly [x: number, y: number];

export interface LineSeries {
  readonly name: string;
  /** Ascending in x. */
  readonly points: readonly Point[];
  /** Place in the palette; by default its index among the series. */
  readonly colour?: number;
  readonly isDashed?: boolean;
  /** Each point gets a dot. */
  readonly hasDots?: boolean;
  /** Behind another that says the same more clearly: pale, and not in the legend. */
  readonly isPale?: boolean;
}

/** An event at one x. */
export interface Mark {
  readonly x: number;
  readonly label: string;
}

export interface LineChartSpec extends FrameSpec {
  readonly x: AxisSpec;
  readonly y: AxisSpec;
  readonly series: readonly LineSeries[];
  readonly marks?: readonly Mark[];
}

/** Labels of marks that are nearer to each other than this would overlap: the later is left out. */
const markSpacing = 60;

/** @param options `inPage`: for a page that has the charts' style sheet (theme.ts) */
export function lineChart(spec: LineChartSpec, options: { inPage?: boolean } = {}): string {
  const series = spec.series.map((one, i) => ({ ...one, colour: one.colour ?? i }));
  const legend = series
    .filter(({ isPale }) => isPale !== true)
    .map(({ name, colour, isDashed }): LegendEntry => ({ name, series: colour, shape: isDashed ? 'dashed' : 'line' }));
  const tickCounts = tickCountsOf(spec);
  const values = (index: 0 | 1) => shown(spec, index);
  // The labels say how wide the axis is, and do not depend on where it lies.
  const labels = axisOf(spec.y, values(1), [1, 0], tickCounts.y).ticks.map(({ label }) => label);
  const frame = layFrame(spec, legend, labels);
  const x = axisOf(spec.x, values(0), [frame.left, frame.right], tickCounts.x);
  const y = axisOf(spec.y, values(1), [frame.bottom, frame.top], tickCounts.y);
  const body =
    verticalAxis(frame, y, spec.y.label) +
    horizontalAxis(frame, x, spec.x.label) +
    marks(spec, frame, x) +
    series.map((one) => curve(one, x, y, spec)).join('');
  return svgOf(frame, spec.title, body, options);
}

function* shown({ series, x, y }: LineChartSpec, index: 0 | 1): Generator<number> {
  for (const { points } of series) for (const point of points) if (canShow(point, x, y)) yield point[index];
}

function canShow([x, y]: Point, xAxis: AxisSpec, yAxis: AxisSpec): boolean {
  return Number.isFinite(x) && Number.isFinite(y) && !(xAxis.isLog && x <= 0) && !(yAxis.isLog && y <= 0);
}

function curve(series: LineSeries & { colour: number }, x: Axis, y: Axis, spec: LineChartSpec): string {
  const { points, colour, isDashed = false, hasDots = false, isPale = false } = series;
  const drawn = downsample(points);
  const opacity = isPale ? ' stroke-opacity="0.3" stroke-width="1"' : ' stroke-width="2"';
  const dash = isDashed ? ' stroke-dasharray="5 4"' : '';
  const d = pathThrough(
    drawn.map((point) => (canShow(point, spec.x, spec.y) ? [x.place(point[0]), y.place(point[1])] : undefined)),
  );
  const stroke = `<path d="${d}" fill="none" stroke-linejoin="round" stroke-linecap="round" ${strokedSeries(colour)}${opacity}${dash}/>`;
  if (!hasDots && drawn.length > 1) return stroke;
  const dots = drawn
    .filter((point) => canShow(point, spec.x, spec.y))
    .map(
      (point) =>
        `<circle cx="${round(x.place(point[0]))}" cy="${round(y.place(point[1]))}" r="4" ${filledSeries(colour)}/>`,
    );
  return stroke + dots.join('');
}

function marks({ marks: given = [] }: LineChartSpec, { left, right, top, bottom }: Frame, x: Axis): string {
  let labelled = Number.NEGATIVE_INFINITY;
  return given
    .toSorted((a, b) => a.x - b.x)
    .map(({ x: value, label }) => {
      const at = round(x.place(value));
      if (!(at >= left && at <= right)) return '';
      const rule = `<path d="M${at},${top}V${bottom}" ${stroked('faint')} stroke-dasharray="2 3" stroke-opacity="0.7"/>`;
      if (at - labelled < markSpacing) return rule;
      labelled = at;
      const isLate = at > right - markSpacing;
      return (
        rule +
        text(at + (isLate ? -4 : 4), top + 10, label, { role: 'faint', size: 11, anchor: isLate ? 'end' : 'start' })
      );
    })
    .join('');
}
