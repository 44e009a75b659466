import { describe, expect, it } from 'vitest';
import type { Batch } from '../../../src/base/batch.ts';
import { randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import { InvariantError, PeerError } from '../../../src/base/errors.ts';
import { checkBatch } from '../../../src/task/fields.ts';
import { nextTokenWindows } from '../../../src/task/nextToken.ts';
import { packedFields, packedTask, packSamples, planPacks } from '../../../src/task/packing.ts';
import { collate } from '../../../src/task/task.ts';

/** Best-fit decreasing from its definition: the tightest pack that has room, of those equally tight any. */
function remainingSpaces(lengths: readonly number[], blockSize: number): number[] {
  const spaces: number[] = [];
  for (const length of [...lengths].sort((a, b) => b - a)) {
    let best = -1;
    for (const [i, space] of spaces.entries()) {
      if (space >= length && (best < 0 || space < spaces[best]!)) best = i;
    }
    if (best < 0) spaces.push(blockSize - length);
    else spaces[best]! -= length;
  }
  return spaces.sort((a, b) => a - b);
}

function seededLengths(seed: number, count: number, most: number): number[] {
  const key = randomKey(seed);
  return Array.from({ length: count }, (_, i) => 1 + Math.floor(most * randomUniform(key, i) ** 2));
}

describe('a plan of packs', () => {
  it.each([
    { count: 0, blockSize: 5, most: 5 },
    { count: 1, blockSize: 1, most: 1 },
    { count: 40, blockSize: 7, most: 7 },
    { count: 300, blockSize: 64, most: 64 },
    { count: 500, blockSize: 1000, most: 300 },
  ])('has each of $count samples once, and the spaces of best-fit decreasing in $blockSize', (shape) => {
    const lengths = seededLengths(shape.count, shape.count, shape.most);
    const packs = planPacks(lengths, shape.blockSize);
    expect(packs.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
    const spaces = packs.map((pack) => shape.blockSize - pack.reduce((sum, i) => sum + lengths[i]!, 0));
    expect(spaces.sort((a, b) => a - b)).toEqual(remainingSpaces(lengths, shape.blockSize));
  });

  it('is in the order of the samples', () => {
    expect(planPacks([3, 6, 2, 4, 7, 1], 10)).toEqual([
      [0, 4],
      [1, 3],
      [2, 5],
    ]);
    expect(planPacks([5, 5, 5, 5], 10)).toEqual([
      [0, 1],
      [2, 3],
    ]);
    expect(planPacks([10, 10], 10)).toEqual([[0], [1]]);
  });

  it('of 200,000 samples does not search all packs for each', () => {
    const lengths = seededLengths(1, 200_000, 1024);
    const packs = planPacks(lengths, 1024);
    const tokens = lengths.reduce((sum, length) => sum + length);
    expect(tokens / (packs.length * 1024)).toBeGreaterThan(0.99);
  });

  it('refuses samples that do not fit, and empty ones', () => {
    expect(() => planPacks([3, 11], 10)).toThrow('sample 1 has 11 tokens; expected 1 to 10');
    expect(() => planPacks([0], 10)).toThrow(InvariantError);
  });
});

describe('a pack', () => {
  const samples = [
    { tokens: [4, 5, 6], targets: [5, 6, -1] },
    { tokens: Int32Array.of(7), targets: Int32Array.of(8) },
  ];
  const task = packedTask(nextTokenWindows);

  it('has its samples one after another, and where they start', () => {
    expect(packSamples(samples)).toEqual({
      tokens: Int32Array.of(4, 5, 6, 7),
      targets: Int32Array.of(5, 6, -1, 8),
      starts: Int32Array.of(0, 0, 0, 3),
    });
  });

  it('is padded with documents of one token, which have no target', () => {
    const batch = collate(task.fields, [packSamples(samples), packSamples([])], 6);
    expect(batch.arrays['starts']!.data).toEqual(Int32Array.of(0, 0, 0, 3, 4, 5, 0, 1, 2, 3, 4, 5));
    expect(batch.arrays['targets']!.data).toEqual(Int32Array.of(5, 6, -1, 8, -1, -1, -1, -1, -1, -1, -1, -1));
    expect(() => checkBatch(batch, packedFields({ blockSize: 8, vocabSize: 9 }))).not.toThrow();
    expect(task.weight(batch)).toBe(3);
    expect(task.objective).toBe('packed-tokens');
  });

  it('is made only of tokens and their targets', () => {
    const scored = {
      ...nextTokenWindows,
      fields: { ...nextTokenWindows.fields, score: { dtype: 'float32', padding: 0 } },
    };
    expect(() => packedTask(scored as unknown as typeof nextTokenWindows)).toThrow('cannot be packed');
  });

  it.each([
    { starts: [1, 1, 1], problem: 'expected 0 at position 0, received 1' },
    { starts: [0, 0, 1], problem: 'expected 0 or 2 at position 2, received 1' },
    { starts: [0, 1, 0], problem: 'expected 1 or 2 at position 2, received 0' },
    { starts: [0, 2, 2], problem: 'expected 0 or 1 at position 1, received 2' },
    { starts: [0, -1, -1], problem: 'expected numbers from 0 to 7, received -1' },
  ])('from outside with starts $starts is refused', ({ starts, problem }) => {
    const array = (...data: number[]) => ({ shape: [3], data: Int32Array.from(data) });
    const good = [0, 0, 2];
    const batchOf = (last: readonly number[]): Batch => ({
      sampleCount: 2,
      arrays: { tokens: array(1, 2, 3, 4, 5, 6), targets: array(1, 2, 3, 4, 5, 6), starts: array(...good, ...last) },
    });
    const rules = packedFields({ blockSize: 8, vocabSize: 9 });
    expect(() => checkBatch(batchOf(good), rules)).not.toThrow();
    expect(() => checkBatch(batchOf(starts), rules)).toThrow(PeerError);
    expect(() => checkBatch(batchOf(starts), rules)).toThrow(problem);
  });
});
