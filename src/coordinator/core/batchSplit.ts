/**
 * Divides a step's samples among the ranks: contiguous shares that cover the global batch, equal or in proportion to
 * measured speed. Pure.
 */
import type { Members } from './roster.ts';
import type { Member } from './runState.ts';

export interface Share {
  readonly from: number;
  readonly count: number;
}

/** Smaller differences in speed are ignored, because changing shares after every measurement would gain nothing. */
const tolerance = 0.1;

/** The contiguous share of `total` items for `rank`; if it does not divide evenly, the first ranks get one more. */
export function shareOf(total: number, rank: number, worldSize: number): Share {
  const each = Math.floor(total / worldSize);
  const extra = total % worldSize;
  return { from: rank * each + Math.min(rank, extra), count: each + (rank < extra ? 1 : 0) };
}

/** One share per member, in rank order. Every member gets at least one sample, because total ≥ the number of members. */
export function sharesOf(total: number, members: Members<Member>, batchSplit: 'equal' | 'proportional'): Share[] {
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

/** Positive whole numbers with the given sum, as close to the weights as the largest-remainder method gets. */
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
