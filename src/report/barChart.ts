/** Stacked bars: the parts of a total, for several totals. */
import { type AxisSpec, axisOf } from './axes.ts';
import {
  type FrameSpec,
  horizontalAxis,
  type LegendEntry,
  layFrame,
  round,
  svgOf,
  tickCountsOf,
  verticalAxis,
} from './frame.ts';
import { escaped } from './markup.ts';
import { bandScale } from './scales.ts';
import { filledSeries } from './theme.ts';

export interface BarChartSpec extends FrameSpec {
  readonly xLabel: string;
  readonly y: AxisSpec;
  /** Names of the parts of a bar, from the bottom up. */
  readonly parts: readonly string[];
  /** The colour of each. */
  readonly series: readonly number[];
  readonly bars: readonly { readonly name: string; readonly values: readonly number[] }[];
}

const barWidthMax = 84;

export function barChart(spec: BarChartSpec, options: { inPage?: boolean } = {}): string {
  const { parts, bars, series } = spec;
  const legend = parts.map((name, i): LegendEntry => ({ name, series: series[i] ?? i, shape: 'box' }));
  const totals = bars.map(({ values }) => values.reduce((sum, value) => sum + drawable(value), 0));
  const ySpec = { ...spec.y, include: [0, ...(spec.y.include ?? [])] };
  const { y: tickCount } = tickCountsOf(spec);
  const labels = axisOf(ySpec, totals, [1, 0], tickCount).ticks.map(({ label }) => label);
  const frame = layFrame(spec, legend, labels);
  const y = axisOf(ySpec, totals, [frame.bottom, frame.top], tickCount);
  const { width: bandWidth, middle } = bandScale(bars.length, [frame.left, frame.right], { inner: 0.35, outer: 0.3 });
  const width = Math.min(barWidthMax, bandWidth);
  const every = Math.ceil((bars.length * 34) / (frame.right - frame.left));
  const ticks = bars.flatMap(({ name }, i) => (i % every === 0 ? [{ at: middle(i), label: name }] : []));
  const drawn = bars.map(({ name, values }, i) => {
    let from = 0;
    return values
      .map((given, part) => {
        const value = drawable(given);
        const top = y.place(from + value);
        const height = y.place(from) - top;
        from += value;
        if (height < 0.05) return '';
        const label = escaped(`${name}: ${parts[part]} ${Number(value.toPrecision(3))}`);
        return (
          `<rect x="${round(middle(i) - width / 2)}" y="${round(top)}" width="${round(width)}" height="${round(height)}" ` +
          `${filledSeries(series[part] ?? part)}><title>${label}</title></rect>`
        );
      })
      .join('');
  });
  const axes = verticalAxis(frame, y, spec.y.label);
  const below = horizontalAxis(frame, { place: middle, ticks }, spec.xLabel);
  return svgOf(frame, spec.title, axes + drawn.join('') + below, options);
}

/** Values that are not a number, or below 0 by rounding, are left out. */
function drawable(value: number): number {
  return Number.isFinite(value) && value > 0 ? value : 0;
}
