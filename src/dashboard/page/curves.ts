/** What each chart shows: its lines, and the numbers of each. Pure. */
import type { SentPoint } from '../runUpdate.ts';
import type { RunState } from './runState.ts';

export interface ChartKind {
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
  { title: 'Reward', values: ({ reward }) => reward, optional: true },
  { title: 'KL from the start', values: ({ rolloutKl }) => rolloutKl, optional: true },
  { title: 'Tokens per second', values: ({ tokensPerSecond }) => tokensPerSecond },
  { title: 'MFU, % of the peak', values: ({ mfu }) => percentOf(mfu), optional: true },
  { title: 'Gradient norm', values: ({ gradNorm }) => gradNorm },
  { title: 'Learning rate', values: ({ lr }) => lr },
  { title: 'Ring, bytes/s sent by a rank', values: ({ ringBytesPerSecond }) => ringBytesPerSecond },
];

/** Weight of the newest point of a curve that is smoothed. */
const smoothWeight = 0.1;
const seriesColours = 6;

/** A line of a chart. */
export interface ChartLine {
  /** Empty where the title of the chart says it. */
  readonly name: string;
  readonly isValidation: boolean;
  /** Index into the page's series colours. */
  readonly colour: number;
}

/** A value of a line: undefined where the line has none of its own at that step. */
export type Cell = number | null | undefined;

/** Those that some run has values for. */
export function shownKinds(runs: readonly RunState[]): ChartKind[] {
  const hasAny = (values: ChartKind['values']) =>
    runs.some(({ points }) => points.some((point) => Number.isFinite(values(point))));
  return kinds.filter(({ optional, values }) => optional !== true || hasAny(values));
}

/** The lines of a chart, in the order of its data. */
export function linesOf({ validation = false }: ChartKind, runs: readonly RunState[]): ChartLine[] {
  const isAlone = runs.length === 1;
  return runs.flatMap(({ name }, i): ChartLine[] => {
    const colour = i % seriesColours;
    if (!validation) return [{ name: isAlone ? '' : name, isValidation: false, colour }];
    return [
      { name: isAlone ? 'training' : name, isValidation: false, colour },
      // Alone it has a colour of its own; among others that of its run.
      { name: isAlone ? 'validation' : `${name}, validation`, isValidation: true, colour: isAlone ? 1 : colour },
    ];
  });
}

/** For each line its steps and its values there. */
export function tablesOf(
  kind: ChartKind,
  runs: readonly RunState[],
  smooth: boolean,
): [steps: number[], values: (number | null)[]][] {
  return runs.flatMap(({ points, validations }) => {
    const values = points.map(kind.values);
    const curve: [number[], (number | null)[]] = [points.map(({ step }) => step), smooth ? smoothed(values) : values];
    if (kind.validation !== true) return [curve];
    return [curve, [validations.map(({ step }) => step), validations.map(({ valLoss }) => valLoss)]];
  });
}

/**
 * Where in its data a line has what it says of the step at `index`. A point of a curve stands for the steps since the one before it, so
 * that of a step between is the next one; a validation says nothing of other steps than its own.
 */
export function indexFor({ isValidation }: ChartLine, cells: ArrayLike<Cell>, index: number): number {
  if (isValidation) return index;
  let at = index;
  while (at < cells.length && cells[at] === undefined) at++;
  return at < cells.length ? at : index;
}

/** The last value that is known. */
export function newestOf(cells: ArrayLike<Cell>): number | undefined {
  for (let at = cells.length - 1; at >= 0; at--) {
    const cell = cells[at];
    if (cell !== undefined && cell !== null) return cell;
  }
  return undefined;
}

function percentOf(share: number | null): number | null {
  return share === null ? null : 100 * share;
}

function smoothed(values: readonly (number | null)[]): (number | null)[] {
  let mean: number | undefined;
  return values.map((value) => {
    if (value === null) return null;
    mean = mean === undefined ? value : mean + smoothWeight * (value - mean);
    return mean;
  });
}
