/**
 * How the samples of a step are divided among the ranks: contiguous shares that tile the global batch, equal or in proportion to
 * measured speed. Pure.
 */
import type { Member } from './runState.ts';

export interface Share {
  readonly from: number;
  readonly count: number;
}

/** Speeds that differ by less are taken for equal: shares that change with every measurement would gain nothing. */
const tolerance = 0.1;

/** The contiguous share of `total` items that `rank` gets; the first ranks get one more where it does not divide. */
export function shareOf(total: number, rank: number, worldSize: number): Share {
  const each = Math.floor(total / worldSize);
  const extra = total % worldSize;
  return { from: rank * each + Math.min(rank, extra), count: each + (rank < extra ? 1 : 0) };
}

/** One share for each member, in the order of ranks. Every member has at least one sample, since total ≥ their number. */
export function sharesOf(total: number, members: readonly Member[], batchSplit: 'equal' | 'proportional'): Share[] {
  const speeds = members.map(({ speed }) => speed);
  const measured = speeds.every((speed) => speed > 0);
  const even = Math.max(...speeds) <= (1 + tolerance) * Math.min(...speeds);
  if (batchSplit === 'equal' || !measured || even) {
    return members.map((_, rank) => shareOf(total, rank, members.length));
  }
  let from = 0;
  return proportional(total, speeds).map((count) => {
    const share = { from, count };
    from += count;
    return share;
  });
}

/** Whole numbers above 0 with the given sum, as close to the weights as largest remainders come. */
function proportional(total: number, weights: readonly number[]): number[] {
  const spare = total - weights.length;
  const sum = weights.reduce((a, b) => a + b, 0);
  const exact = weights.map((weight) => (spare * weight) / sum);
  const counts = exact.map((value) => 1 + Math.floor(value));
  const left = total - counts.reduce((a, b) => a + b, 0);
  const byRemainder = exact.map((value, i) => ({ i, rest: value - Math.floor(value) })).sort((a, b) => b.rest - a.rest);
  for (const { i } of byRemainder.slice(0, left)) counts[i] = (counts[i] ?? 0) + 1;
  return counts;
}
