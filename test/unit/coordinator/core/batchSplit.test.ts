import { describe, expect, it } from 'vitest';
import { shareOf, sharesOf } from '../../../../src/coordinator/core/batchSplit.ts';
import type { Member } from '../../../../src/coordinator/core/runState.ts';

describe('shareOf', () => {
  it.each([
    [12, 1],
    [12, 5],
    [3, 3],
    [2, 4],
    [0, 2],
  ])('splits %i items over %i ranks, each once', (total, worldSize) => {
    const items: number[] = [];
    for (let rank = 0; rank < worldSize; rank++) {
      const { from, count } = shareOf(total, rank, worldSize);
      for (let i = 0; i < count; i++) items.push(from + i);
      expect(count - Math.floor(total / worldSize)).toBeLessThanOrEqual(1);
    }
    expect(items).toEqual(Array.from({ length: total }, (_, i) => i));
  });
});

describe('sharesOf', () => {
  const members = (...speeds: number[]) =>
    speeds.map((speed, rank): Member => {
      const who = { id: `w${rank}`, worker: `w${rank}`, host: 'h', pid: 1, ringAddress: 'r' };
      const does = { lastSeenMs: 0, phase: 'optimizer', step: 1, holds: undefined, leaving: false } as const;
      return { ...who, ...does, rank, speed };
    });
  const counts = (total: number, speeds: number[], batchSplit: 'equal' | 'proportional' = 'proportional') =>
    sharesOf(total, members(...speeds), batchSplit).map(({ count }) => count);

  it('follows measured speed, gives everyone something, and tiles the batch', () => {
    expect(counts(12, [2, 1, 1])).toEqual([6, 3, 3]);
    expect(counts(4, [1_000, 1, 1])).toEqual([2, 1, 1]);
    const shares = sharesOf(13, members(3, 1, 2), 'proportional');
    let next = 0;
    for (const { from, count } of shares) {
      expect(from).toBe(next);
      next += count;
    }
    expect(next).toBe(13);
  });

  it('is equal where it is asked to be, while nothing is measured, and where speeds hardly differ', () => {
    expect(counts(12, [2, 1, 1], 'equal')).toEqual([4, 4, 4]);
    expect(counts(12, [2, 1, 0])).toEqual([4, 4, 4]);
    expect(counts(12, [1.05, 1, 1])).toEqual([4, 4, 4]);
  });
});
