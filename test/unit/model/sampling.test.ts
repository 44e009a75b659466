import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { randomKey, randomUniform } from '../../../src/base/counterRandom.ts';
import { UserError } from '../../../src/base/errors.ts';
import { sampleToken, tokenProbabilities } from '../../../src/model/sampling.ts';

const all = { temperature: 1, topK: 0, topP: 1 };
const logits = Float32Array.of(1, 3, -2, 3.5, 0, 2);

function softmax(values: Float32Array, temperature: number): number[] {
  const weights = Array.from(values, (value) => Math.exp(value / temperature));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / total);
}

function expectClose(actual: Float64Array, expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((p, token) => {
    expect(actual[token]).toBeCloseTo(p, 12);
  });
}

const anyLogits = fc.array(fc.float({ min: -20, max: 20, noNaN: true }), { minLength: 1, maxLength: 40 });

describe('tokenProbabilities', () => {
  it.each([0.5, 1, 1.7])('is the softmax at temperature %s', (temperature) => {
    expectClose(tokenProbabilities(logits, { ...all, temperature }), softmax(logits, temperature));
  });

  it('keeps the k likeliest, the lower of equal ones first', () => {
    const top3 = tokenProbabilities(logits, { ...all, topK: 3 });
    const kept = softmax(Float32Array.of(3, 3.5, 2), 1);
    expectClose(top3, [0, kept[0]!, 0, kept[1]!, 0, kept[2]!]);
    expectClose(tokenProbabilities(Float32Array.of(0, 1, 1, 1), { ...all, topK: 2 }), [0, 0.5, 0.5, 0]);
  });

  it.each([0, 1])('refuses what is not a number or infinite, at temperature %s', (temperature) => {
    for (const [bad, token] of [
      [[Number.NaN, 1, 2], 0],
      [[1, 2, Number.NaN], 2],
      [[5, Number.NaN, 1], 1],
      [[1, Number.POSITIVE_INFINITY, 2], 1],
    ] as const) {
      const sample = () => sampleToken(Float32Array.from(bad), { ...all, temperature }, 0.5);
      expect(sample).toThrow(UserError);
      expect(sample).toThrow(`for token ${token}, expected a finite number`);
    }
    const masked = Float32Array.of(Number.NEGATIVE_INFINITY, 1);
    expect(sampleToken(masked, { ...all, temperature }, 0)).toBe(1);
  });

  it('takes all tokens where topK is above their number, and one where topP is tiny', () => {
    expectClose(tokenProbabilities(logits, { ...all, topK: 1000 }), softmax(logits, 1));
    expectClose(tokenProbabilities(logits, { ...all, topP: 1e-12 }), [0, 0, 0, 1, 0, 0]);
    expect(sampleToken(Float32Array.of(1, 7, 7), { ...all, temperature: 0 }, 0.99)).toBe(1);
  });

  it('keeps the first of tokens that are equal at the edge of the k likeliest', () => {
    const equal = Float32Array.of(1, 2, 1, 0, 1);
    const [two, one] = softmax(Float32Array.of(2, 1, 1), 1);
    expectClose(tokenProbabilities(equal, { ...all, topK: 3 }), [one!, two!, one!, 0, 0]);
    expectClose(tokenProbabilities(new Float32Array(5), { ...all, topK: 2 }), [0.5, 0.5, 0, 0, 0]);
  });

  it('does not overflow', () => {
    expectClose(tokenProbabilities(Float32Array.of(3e38, 0, -3e38), all), [1, 0, 0]);
  });

  it('top-p keeps the smallest set of the likeliest that reaches p', () => {
    fc.assert(
      fc.property(anyLogits, fc.double({ min: 0.01, max: 0.99, noNaN: true }), (values, topP) => {
        const full = tokenProbabilities(Float32Array.from(values), all);
        const kept = tokenProbabilities(Float32Array.from(values), { ...all, topP });
        const inside = [...full.keys()].filter((token) => kept[token]! > 0);
        const outside = [...full.keys()].filter((token) => kept[token] === 0);
        const mass = inside.reduce((sum, token) => sum + full[token]!, 0);
        const smallest = Math.min(...inside.map((token) => full[token]!));
        expect(mass).toBeGreaterThanOrEqual(topP - 1e-9);
        expect(mass - smallest).toBeLessThan(topP + 1e-9);
        for (const token of outside) expect(full[token]!).toBeLessThanOrEqual(smallest);
        for (const token of inside) expect(kept[token]).toBeCloseTo(full[token]! / mass, 9);
      }),
    );
  });
});

describe('sampleToken', () => {
  it('takes the likeliest, the first of equal ones, at temperature 0 and at top-k 1', () => {
    fc.assert(
      fc.property(anyLogits, fc.double({ min: 0, max: 0.999, noNaN: true }), (values, uniform) => {
        const likeliest = values.indexOf(Math.max(...values));
        expect(sampleToken(Float32Array.from(values), { ...all, temperature: 0 }, uniform)).toBe(likeliest);
        expect(sampleToken(Float32Array.from(values), { ...all, topK: 1 }, uniform)).toBe(likeliest);
      }),
    );
  });

  it.each([all, { temperature: 0.8, topK: 4, topP: 0.9 }])(
    'draws in proportion to the probabilities: %o',
    (options) => {
      const draws = 40_000;
      const key = randomKey(9);
      const counts = new Float64Array(logits.length);
      for (let i = 0; i < draws; i++) counts[sampleToken(logits, options, randomUniform(key, i))]!++;
      tokenProbabilities(logits, options).forEach((p, token) => {
        const deviation = Math.sqrt((p * (1 - p)) / draws);
        expect(Math.abs(counts[token]! / draws - p)).toBeLessThanOrEqual(4.5 * deviation);
      });
    },
  );
});
