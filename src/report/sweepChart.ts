/** The result of a learning-rate sweep (`schedule.kind: sweep`): the loss at each learning rate, and the rate that follows from it. */
import type { RunRecord } from '../records/runRecord.ts';
import { lineChart, type Mark, type Point } from './lineChart.ts';
import { smoothed } from './runChart.ts';

/** Weight of the past in the moving average of the losses. */
const smoothing = 0.9;

/** Division of the rate at which the loss is lowest: there, training is about to diverge. */
const margin = 10;

export interface Sweep {
  /** Learning rate and loss of each step. */
  readonly points: readonly Point[];
  /** Moving average of the losses. */
  readonly curve: readonly Point[];
  /** The lowest point of the curve; undefined if no loss is finite. */
  readonly lowest: Point | undefined;
  /** A tenth of the rate of the lowest point, if the sweep includes it and the loss rises after it. */
  readonly suggested: number | undefined;
  /** Whether the curve is lowest at its end, so the sweep ended too early. */
  readonly isFalling: boolean;
}

export function sweepOf({ steps }: { readonly steps: Pick<RunRecord['steps'], 'lr' | 'loss'> }): Sweep {
  const points = steps.lr.map((rate, i): Point => [rate, steps.loss[i]!]);
  const curve = smoothed(points, smoothing).filter(([, loss]) => Number.isFinite(loss));
  let lowest: Point | undefined;
  for (const point of curve) if (point[1] < (lowest?.[1] ?? Number.POSITIVE_INFINITY)) lowest = point;
  const isFalling = lowest !== undefined && lowest === curve.at(-1);
  const rate = (lowest?.[0] ?? 0) / margin;
  const suggested = !isFalling && rate >= (curve[0]?.[0] ?? Number.POSITIVE_INFINITY) ? rate : undefined;
  return { points, curve, lowest, suggested, isFalling };
}

/** The loss over the learning rate. The last losses may be far above the others: the axis ends a little above the first. */
export function sweepChart({ points, curve, lowest, suggested }: Sweep): string {
  const most = 1.2 * Math.max(0, ...curve.slice(0, Math.ceil(curve.length / 10)).map(([, loss]) => loss));
  const shown = (all: readonly Point[]) => all.filter(([, loss]) => loss <= most);
  const marks: Mark[] = [
    ...(suggested === undefined ? [] : [{ x: suggested, label: `suggested ${suggested.toExponential(1)}` }]),
    ...(lowest === undefined ? [] : [{ x: lowest[0], label: `lowest ${lowest[0].toExponential(1)}` }]),
  ];
  return lineChart({
    title: 'Training loss at each learning rate',
    subtitle: `moving average, weight of the past ${smoothing}`,
    x: { label: 'learning rate', isLog: true },
    y: { label: 'nats per token' },
    series: [
      { name: 'loss', points: shown(points), colour: 0, isPale: true },
      { name: 'loss', points: shown(curve), colour: 0 },
    ],
    marks,
  });
}
