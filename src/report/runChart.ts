/** Curves of a metric over the steps of one or several runs. */
import type { MetricName, RunRecord } from '../records/runRecord.ts';
import { type LineChartSpec, type LineSeries, lineChart, type Mark, type Point } from './lineChart.ts';

interface Shown {
  readonly title: string;
  readonly label: string;
  /** Differences matter as much at small values. */
  readonly isLog?: boolean;
  readonly isPercent?: boolean;
  /** The axis starts at 0. */
  readonly fromZero?: boolean;
}

const shownAs = {
  loss: { title: 'Training loss', label: 'nats per token' },
  valLoss: { title: 'Validation loss', label: 'nats per token' },
  lr: { title: 'Learning rate', label: 'learning rate', fromZero: true },
  gradNorm: { title: 'Gradient norm, before clipping', label: 'norm', isLog: true },
  tokensPerSecond: { title: 'Speed, over ten steps', label: 'tokens/s', fromZero: true },
  reward: { title: 'Reward of the rollouts', label: 'mean reward' },
  rolloutKl: { title: 'KL divergence of the rollouts from the start', label: 'nats per token', fromZero: true },
  mfu: { title: 'Model FLOPs utilization, over ten steps', label: 'of the peak', isPercent: true, fromZero: true },
} as const satisfies Record<MetricName, Shown>;

export interface RunChartOptions {
  readonly metric: MetricName;
  /** Weight of the past in the moving average, from 0 (none) to below 1. */
  readonly smoothing?: number;
  readonly inPage?: boolean;
  readonly width?: number;
  readonly height?: number;
}

/** @param runs at least one */
export function runChart(runs: readonly RunRecord[], options: RunChartOptions): string {
  const { metric, smoothing = 0, inPage = false, width, height } = options;
  const { title, label, isLog, isPercent, fromZero }: Shown = shownAs[metric];
  const names = namesOf(runs);
  const series = runs.flatMap((run, colour): LineSeries[] => {
    const points = pointsOf(run, metric);
    const name = names[colour]!;
    if (smoothing === 0 || metric === 'valLoss') return [{ name, points, colour, hasDots: metric === 'valLoss' }];
    return [
      { name, points, colour, isPale: true },
      { name, points: smoothed(points, smoothing), colour },
    ];
  });
  // The loss of a run alone has room for that of its evaluations.
  const withEvaluations = metric === 'loss' && runs.length === 1 && runs[0]!.evaluations.length > 0;
  if (withEvaluations) {
    for (const [i, one] of series.entries()) series[i] = { ...one, name: 'training' };
    series.push({ name: 'validation', points: pointsOf(runs[0]!, 'valLoss'), colour: 1, hasDots: true });
  }
  const average = smoothing > 0 && metric !== 'valLoss' ? `moving average, weight of the past ${smoothing}` : '';
  // A page says of which run it is.
  const run = runs.length === 1 && !inPage ? names[0]! : '';
  const subtitle = [run, average].filter((part) => part !== '').join(', ');
  const spec: LineChartSpec = {
    title,
    ...(subtitle !== '' && { subtitle }),
    x: { label: 'step' },
    y: { label, ...(isLog && { isLog }), ...(isPercent && { isPercent }), ...(fromZero && { include: [0] }) },
    series,
    marks: runs.length === 1 ? marksOf(runs[0]!) : [],
    ...(width !== undefined && { width }),
    ...(height !== undefined && { height }),
  };
  return lineChart(spec, { inPage });
}

/** Whether a run has values of the metric. */
export function hasMetric(run: RunRecord, metric: MetricName): boolean {
  return pointsOf(run, metric).some(([, y]) => Number.isFinite(y));
}

function pointsOf({ steps, evaluations }: RunRecord, metric: MetricName): Point[] {
  if (metric === 'valLoss') return evaluations.map(({ step, valLoss }) => [step, valLoss]);
  const column = steps[metric];
  return steps.step.map((step, i) => [step, column[i]!]);
}

/** The mean of the values so far, each weighing `weight` times the one after it. */
export function smoothed(points: readonly Point[], weight: number): Point[] {
  let sum = 0;
  let weights = 0;
  return points.map(([x, y]) => {
    if (!Number.isFinite(y)) return [x, Number.NaN];
    sum = weight * sum + y;
    weights = weight * weights + 1;
    return [x, sum / weights];
  });
}

/** Their names, or their paths if two have the same name. */
function namesOf(runs: readonly RunRecord[]): string[] {
  const isUnique = new Set(runs.map(({ name }) => name)).size === runs.length;
  return runs.map(({ name, path }) => (isUnique ? name : path));
}

/** The steps at which workers were lost, and at which the run was resumed. */
function marksOf({ events }: RunRecord): Mark[] {
  return events.flatMap(({ event, step, rank }) => {
    if (event === 'lost') return [{ x: step, label: rank === undefined ? 'worker lost' : `rank ${rank} lost` }];
    return event === 'resumed' || event === 'rewind' ? [{ x: step, label: event }] : [];
  });
}
