/**
 * The frame of every chart: title, legend, axes, background. It is drawn to a self-contained SVG string.
 */
import type { Axis } from './axes.ts';
import { escaped } from './markup.ts';
import { darkChartStyle, filled, filledSeries, fontFamily, stroked, strokedSeries } from './theme.ts';

export interface FrameSpec {
  readonly title: string;
  /** One line below the title. */
  readonly subtitle?: string;
  /** Pixels; default 760 by 420. */
  readonly width?: number;
  readonly height?: number;
}

export interface LegendEntry {
  readonly name: string;
  readonly series: number;
  readonly shape: 'line' | 'dashed' | 'box' | 'dots';
}

/** The area of the data. */
export interface PlotArea {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export interface Frame extends PlotArea {
  readonly width: number;
  readonly height: number;
  readonly head: string;
}

/** Estimated: glyphs of Inter are about so wide, in parts of the font size. */
const glyphWidth = 0.56;
const widthDefault = 760;
const heightDefault = 420;
const margin = 20;
const fontSize = 12;
const legendRowHeight = 20;
const legendMark = 22;

/** About how many labels the axes of a chart have room for. */
export function tickCountsOf({ width = widthDefault, height = heightDefault }: FrameSpec): { x: number; y: number } {
  const count = (pixels: number, most: number) => Math.max(3, Math.min(most, Math.round(pixels)));
  return { x: count(width / 80, 8), y: count(height / 60, 6) };
}

/** @param leftLabels of the vertical axis: the longest says how much room it takes */
export function layFrame(spec: FrameSpec, legend: readonly LegendEntry[], leftLabels: readonly string[]): Frame {
  const { width = widthDefault, height = heightDefault, title, subtitle } = spec;
  const parts = [text(margin, 30, title, { size: 16, weight: 600, widest: width - 2 * margin })];
  let top = 40;
  if (subtitle !== undefined) {
    parts.push(text(margin, 50, subtitle, { role: 'faint', widest: width - 2 * margin }));
    top = 60;
  }
  if (legend.length > 1) {
    const rows = layLegend(legend, width - 2 * margin);
    for (const { entry, x, row } of rows) parts.push(legendItem(entry, margin + x, top + 12 + row * legendRowHeight));
    top += legendRowHeight * (1 + Math.max(...rows.map(({ row }) => row))) + 4;
  }
  const labelWidth = Math.max(20, ...leftLabels.map((label) => label.length * fontSize * glyphWidth));
  // The name of the vertical axis is above it.
  return {
    width,
    height,
    head: parts.join(''),
    left: margin + labelWidth + 10,
    right: width - margin - 8,
    top: top + 30,
    bottom: height - 52,
  };
}

function layLegend(legend: readonly LegendEntry[], width: number) {
  let x = 0;
  let row = 0;
  return legend.map((entry) => {
    const taken = legendMark + 8 + Math.min(entry.name.length, 48) * fontSize * glyphWidth + 18;
    if (x > 0 && x + taken > width) {
      x = 0;
      row++;
    }
    const placed = { entry, x, row };
    x += taken;
    return placed;
  });
}

function legendItem({ name, series, shape }: LegendEntry, x: number, y: number): string {
  const markWidth = shape === 'box' || shape === 'dots' ? 12 : legendMark;
  const label = text(x + markWidth + 6, y + 4, clipped(name, 48));
  if (shape === 'box')
    return `<rect x="${x}" y="${y - 6}" width="12" height="12" rx="2" ${filledSeries(series)}/>${label}`;
  if (shape === 'dots') return `<circle cx="${x + 6}" cy="${y}" r="4" ${filledSeries(series)}/>${label}`;
  const dash = shape === 'dashed' ? ' stroke-dasharray="5 4"' : '';
  return `<path d="M${x},${y}h${legendMark}" ${strokedSeries(series)} stroke-width="2.5"${dash}/>${label}`;
}

/** Grid lines with their labels, and the name of the axis above its end. */
export function verticalAxis({ left, right, top }: Frame, axis: Axis, label: string): string {
  const lines = axis.ticks.map(
    ({ at, label: value }) =>
      `<path d="M${left},${round(at)}H${right}" ${stroked('grid')}/>` +
      text(left - 10, at + 4, value, { role: 'faint', anchor: 'end' }),
  );
  return lines.join('') + text(margin, top - 14, label, { role: 'faint' });
}

export function horizontalAxis({ left, right, bottom }: Frame, axis: Axis, label: string): string {
  const labels = axis.ticks.map(
    ({ at, label: value }) =>
      `<path d="M${round(at)},${bottom}v5" ${stroked('faint')}/>` +
      text(at, bottom + 20, value, { role: 'faint', anchor: 'middle' }),
  );
  const line = `<path d="M${left},${bottom}H${right}" ${stroked('faint')}/>`;
  return line + labels.join('') + text((left + right) / 2, bottom + 40, label, { role: 'faint', anchor: 'middle' });
}

/** The complete picture, without the style for dark backgrounds if the page has it already. */
export function svgOf(frame: Frame, title: string, body: string, { inPage = false } = {}): string {
  const { width, height } = frame;
  const style = inPage ? '' : `<style>${darkChartStyle()}</style>`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    `font-family="${escaped(fontFamily)}" font-size="${fontSize}" role="img" aria-label="${escaped(title)}">` +
    `${style}<rect width="${width}" height="${height}" ${filled('paper')}/>${frame.head}${body}</svg>\n`
  );
}

interface TextOptions {
  readonly role?: 'ink' | 'faint';
  readonly size?: number;
  readonly weight?: number;
  readonly anchor?: 'start' | 'middle' | 'end';
  /** Pixels; what is longer is cut off. */
  readonly widest?: number;
}

export function text(x: number, y: number, content: string, options: TextOptions = {}): string {
  const { role = 'ink', size = fontSize, weight = 400, anchor = 'start', widest } = options;
  const shown = widest === undefined ? content : clipped(content, Math.floor(widest / (size * glyphWidth)));
  const attributes =
    (size === fontSize ? '' : ` font-size="${size}"`) +
    (weight === 400 ? '' : ` font-weight="${weight}"`) +
    (anchor === 'start' ? '' : ` text-anchor="${anchor}"`);
  return `<text x="${round(x)}" y="${round(y)}"${attributes} ${filled(role)}>${escaped(shown)}</text>`;
}

/** Pixels with a tenth. */
export function round(pixels: number): number {
  return Math.round(pixels * 10) / 10;
}

function clipped(content: string, length: number): string {
  return content.length <= length ? content : `${content.slice(0, length - 1)}…`;
}
