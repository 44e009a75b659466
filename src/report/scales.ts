/** Scales from values to pixels, and the round values between two ends. */

export type Ends = readonly [from: number, to: number];

/** Maps values to pixels in proportion. */
export function linearScale([low, high]: Ends, [from, to]: Ends): (value: number) => number {
  return (value) => from + ((value - low) / (high - low)) * (to - from);
}

/** Maps values above 0 to pixels in proportion to their logarithms. */
export function logScale([low, high]: Ends, pixels: Ends): (value: number) => number {
  const place = linearScale([Math.log(low), Math.log(high)], pixels);
  return (value) => place(Math.log(value));
}

/** 1, 2 or 5 times a power of ten. */
interface RoundStep {
  readonly factor: number;
  readonly power: number;
}

/** The round step that divides the range into about `count` parts, nearest by ratio. */
function roundStep([low, high]: Ends, count: number): RoundStep {
  const wanted = (high - low) / count;
  const power = Math.floor(Math.log10(wanted));
  const ratio = wanted / 10 ** power;
  const factor = ratio >= Math.sqrt(50) ? 10 : ratio >= Math.sqrt(10) ? 5 : ratio >= Math.SQRT2 ? 2 : 1;
  return { factor, power };
}

/** A multiple of the step, as the number nearest to its decimal digits: 3 steps of 0.1 are 0.3. */
function multiple(times: number, { factor, power }: RoundStep): number {
  return Number(`${times * factor}e${power}`);
}

/** A value in steps, rounded to a whole number if only a rounding error separates them. */
function stepsTo(value: number, step: RoundStep): number {
  const steps = value / multiple(1, step);
  const whole = Math.round(steps);
  return Math.abs(steps - whole) < 1e-9 * Math.max(1, Math.abs(whole)) ? whole : steps;
}

/** Moves the ends outwards to multiples of the step of their ticks. */
export function niceEnds(ends: Ends, count: number): Ends {
  let nice = ends;
  let before: RoundStep | undefined;
  // A wider range may need a longer step.
  for (;;) {
    const step = roundStep(nice, count);
    if (step.factor === before?.factor && step.power === before.power) return nice;
    nice = [multiple(Math.floor(stepsTo(nice[0], step)), step), multiple(Math.ceil(stepsTo(nice[1], step)), step)];
    before = step;
  }
}

/** Round values between the ends, about `count` of them. */
export function roundTicks(ends: Ends, count: number): number[] {
  const step = roundStep(ends, count);
  const first = Math.ceil(stepsTo(ends[0], step));
  const last = Math.floor(stepsTo(ends[1], step));
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => multiple(first + i, step));
}

/** Bars side by side. `inner` and `outer`: the gaps between and around them, as fractions of the distance between bars. */
export function bandScale(count: number, [from, to]: Ends, { inner, outer }: { inner: number; outer: number }) {
  const distance = (to - from) / Math.max(1, count - inner + 2 * outer);
  const width = distance * (1 - inner);
  const start = from + (to - from - distance * (count - inner)) / 2;
  return { width, middle: (bar: number): number => start + bar * distance + width / 2 };
}

/** An SVG path through points, rounded to tenths of a pixel. It starts again after each undefined point. */
export function pathThrough(points: readonly (Ends | undefined)[]): string {
  let command = 'M';
  let path = '';
  for (const [i, point] of points.entries()) {
    if (point === undefined) {
      command = 'M';
      continue;
    }
    path += command + point.map((pixel) => Math.round(pixel * 10) / 10).join(',');
    // Closing the path makes a single point visible as a dot.
    if (command === 'M' && points[i + 1] === undefined) path += 'Z';
    command = 'L';
  }
  return path;
}
