/**
 * What a line of metrics.jsonl says of many ranks: above {@link rankLinesMax} ranks it has `rankSummary` in place of `ranks`, so that the line of a step
 * stays below 2 KB. The journal has the share of every rank in the newest steps.
 */
import { quantileOfSorted } from '../base/statistics.ts';
import type { StepTimings } from '../comm/messageFields.ts';

/** The samples [sampleFrom, sampleFrom + sampleCount) of the global batch. */
export interface RankShare {
  /** From 0. */
  readonly rank: number;
  /** Index in the global batch, from 0. */
  readonly sampleFrom: number;
  /** Number of samples that the rank computed. */
  readonly sampleCount: number;
}

/** The part of a rank in a step. */
export interface RankMetrics extends RankShare, Partial<StepTimings> {
  /** Bytes of gradients sent to the next rank. */
  readonly ringBytesSent?: number;
}

/** The most ranks of which each has its own part of a line. */
export const rankLinesMax = 16;

const measures = [
  'sampleCount',
  'dataWaitMs',
  'forwardBackwardMs',
  'ringWaitMs',
  'commitWaitMs',
  'optimizerMs',
  'ringBytesSent',
] as const satisfies readonly (keyof RankMetrics)[];

/** For each measure its minimum, median or maximum over the ranks that reported it. */
type Measures = { readonly [measure in (typeof measures)[number]]?: number };

export interface RankSummary {
  /** Number of ranks. */
  readonly count: number;
  readonly min: Measures;
  readonly median: Measures;
  readonly max: Measures;
  /** The rank that the others waited for: the longest wait for data and computation. Absent if no rank told its times. */
  readonly slowest?: RankMetrics;
}

/** Any line, as it is written. */
export function metricsLine(line: { readonly step: number; readonly ranks?: readonly RankMetrics[] }): object {
  const { ranks } = line;
  if (ranks === undefined || ranks.length <= rankLinesMax) return line;
  // In its place: the order of the keys stays.
  return Object.fromEntries(
    Object.entries(line).map(([key, value]) => (key === 'ranks' ? ['rankSummary', summaryOf(ranks)] : [key, value])),
  );
}

function summaryOf(ranks: readonly RankMetrics[]): RankSummary {
  const [min, middle, max]: Record<string, number>[] = [{}, {}, {}];
  for (const measure of measures) {
    const values: number[] = [];
    for (const { [measure]: value } of ranks) if (value !== undefined) values.push(value);
    if (values.length === 0) continue;
    const sorted = Float64Array.from(values).sort();
    min![measure] = sorted[0]!;
    middle![measure] = quantileOfSorted(sorted, 0.5);
    max![measure] = sorted.at(-1)!;
  }
  const workMs = ({ dataWaitMs = 0, forwardBackwardMs = -1 }: RankMetrics) => dataWaitMs + forwardBackwardMs;
  const slowest = ranks.reduce((longest, rank) => (workMs(rank) > workMs(longest) ? rank : longest));
  return {
    count: ranks.length,
    min: min!,
    median: middle!,
    max: max!,
    ...(slowest.forwardBackwardMs !== undefined && { slowest }),
  };
}
