/** Axes: the position of a value in the picture, and the labelled values. */
import { grouped } from '../base/numberText.ts';
import { type Ends, linearScale, logScale, niceEnds, roundTicks } from './scales.ts';

export interface AxisSpec {
  readonly label: string;
  /** For values above 0 only. */
  readonly isLog?: boolean;
  /** Given labelled values, such as measured worker counts. */
  readonly ticks?: readonly number[];
  /** Values that the axis must include. */
  readonly include?: readonly number[];
  /** For a share from 0 to 1. */
  readonly isPercent?: boolean;
}

export interface Tick {
  readonly at: number;
  readonly label: string;
}

export interface Axis {
  /** The pixel of a value. */
  readonly place: (value: number) => number;
  readonly ticks: readonly Tick[];
}

/**
 * @param values that are drawn; those that the axis cannot show (not finite, or not above 0 on a logarithmic one) count for nothing
 * @param pixels where the axis begins and ends
 * @param count of labels, about
 */
export function axisOf(
  spec: AxisSpec,
  values: Iterable<number>,
  pixels: readonly [number, number],
  count: number,
): Axis {
  const { isLog = false, isPercent = false } = spec;
  const [low, high] = rangeOf([...(spec.include ?? []), ...(spec.ticks ?? [])], values, isLog);
  // Given ticks are the ends as well.
  const isNice = spec.ticks === undefined;
  const ends = endsOf([low, high], { isLog, isNice, count });
  const place = isLog ? logScale(ends, pixels) : linearScale(ends, pixels);
  const label = isPercent ? (value: number) => `${Number((100 * value).toPrecision(4))} %` : numberLabel;
  const labelled = spec.ticks ?? (isLog ? logTicks(...ends, count) : roundTicks(ends, count));
  return { place, ticks: labelled.map((value) => ({ at: place(value), label: label(value) })) };
}

function endsOf([low, high]: Ends, { isLog, isNice, count }: { isLog: boolean; isNice: boolean; count: number }): Ends {
  if (!isNice) return [low, high];
  return isLog ? [roundBelow(low), roundAbove(high)] : niceEnds([low, high], count);
}

/** The smallest and the largest of the values, made apart where they are one. */
function rangeOf(fixed: readonly number[], values: Iterable<number>, isLog: boolean): [number, number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const some of [fixed, values]) {
    for (const value of some) {
      if (!Number.isFinite(value) || (isLog && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return isLog ? [1, 10] : [0, 1];
  if (low < high) return [low, high];
  if (isLog) return [low / 2, high * 2];
  const margin = Math.abs(low) / 10 || 1;
  return [low - margin, high + margin];
}

/** The next of 1, 2 and 5 times a power of ten: powers of ten alone would leave half a picture empty. */
function roundBelow(value: number): number {
  return 1 / roundAbove(1 / value);
}

function roundAbove(value: number): number {
  const power = Math.floor(Math.log10(value));
  const factor = [1, 2, 5, 10].find((some) => Number(`${some}e${power}`) >= value * (1 - 1e-9)) ?? 10;
  return Number(`${factor}e${power}`);
}

/** Powers of ten if there are enough, otherwise 1, 2 and 5 times them, otherwise all round numbers between. */
function logTicks(low: number, high: number, count: number): number[] {
  const within = (factors: readonly number[]) => {
    const ticks: number[] = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const factor of factors) {
        const value = Number(`${factor}e${power}`);
        if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) ticks.push(value);
      }
    }
    return ticks;
  };
  const tens = within([1]);
  if (tens.length >= 3) {
    const every = Math.ceil(tens.length / (2 * count));
    return tens.filter((_, i) => i % every === 0);
  }
  const some = within([1, 2, 5]);
  if (some.length >= 3) return some;
  const many = within([1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]);
  return many.length >= 2 ? many : roundTicks([low, high], count);
}

/** `1,500`, `20k`, `0.25`, `6e-5`: no longer than an axis has room for. */
export function numberLabel(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${short(value / 1e9)}G`;
  if (size >= 1e6) return `${short(value / 1e6)}M`;
  if (size >= 1e4) return `${short(value / 1e3)}k`;
  if (size >= 1e3) return grouped(value);
  if (size !== 0 && size < 1e-4) return value.toExponential().replace(/(\.\d{2})\d*/, '$1');
  return short(value);
}

function short(value: number): string {
  return String(Number(value.toPrecision(6)));
}
