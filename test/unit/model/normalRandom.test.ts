import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { randomKey } from '../../../src/base/counterRandom.ts';
import { fillNormal } from '../../../src/model/normalRandom.ts';

function normal(count: number, seed: number, std = 1): Float32Array {
  const out = new Float32Array(count);
  fillNormal(out, randomKey(seed), std);
  return out;
}

/** Φ(x) by the trapezoid rule over the density. */
function cumulative(x: number): number {
  const intervals = 4000;
  const low = -9;
  const width = (x - low) / intervals;
  let sum = 0;
  for (let i = 0; i <= intervals; i++) {
    const at = low + i * width;
    sum += Math.exp(-0.5 * at * at) * (i === 0 || i === intervals ? 0.5 : 1);
  }
  return (sum * width) / Math.sqrt(2 * Math.PI);
}

describe('fillNormal', () => {
  it('follows the normal distribution, tails included', () => {
    const count = 400_000;
    const sorted = normal(count, 1).sort();
    let below = 0;
    for (const x of [-4, -3.66, -3, -2, -1, -0.5, -0.1, 0, 0.1, 0.5, 1, 2, 3, 3.66, 4]) {
      while (below < count && sorted[below]! < x) below++;
      const expected = cumulative(x);
      const deviation = Math.sqrt((expected * (1 - expected)) / count);
      expect(Math.abs(below / count - expected), `share below ${x}`).toBeLessThan(5 * deviation + 1e-6);
    }
  });

  it('has independent neighbours', () => {
    const values = normal(200_000, 2);
    for (const lag of [1, 2, 16]) {
      let product = 0;
      for (let i = lag; i < values.length; i++) product += values[i]! * values[i - lag]!;
      expect(Math.abs(product / values.length)).toBeLessThan(5 / Math.sqrt(values.length));
    }
  });

  it('scales by the standard deviation', () => {
    const values = normal(1000, 3);
    normal(1000, 3, 0.02).forEach((value, i) => {
      expect(value).toBeCloseTo(0.02 * values[i]!, 7);
    });
  });

  it('gives the same bits on every machine', () => {
    const hash = createHash('sha256')
      .update(normal(100_000, 4, 0.02))
      .digest('hex');
    expect(hash).toBe('47fa8b31d4fbaa0388d65e062620a13a4ccd4e7eceb988b893ceed0c48c5eb51');
  });
});
