/**
 * A small matrix product on an engine, checked on the host: whether an engine that starts also computes. Not a benchmark and not
 * a replacement for the kernel suite.
 */
import { randomKey, randomUniform } from '../base/counterRandom.ts';
import type { Engine } from './engine.ts';

/** Odd sizes: the edges of every tile are in it. */
const [N, IC, OC] = [67, 131, 37];
/** float32 sums of 131 products of numbers below 1. */
const TOLERANCE = 1e-4;

export interface TrialResult {
  readonly correct: boolean;
  /** The largest difference from the product computed in float64. */
  readonly maxError: number;
}

export async function tryEngine(engine: Engine): Promise<TrialResult> {
  const values = (seed: number, size: number) => {
    const key = randomKey(seed);
    return Float32Array.from({ length: size }, (_, i) => 2 * randomUniform(key, i) - 1);
  };
  const [a, b, product] = [values(1, N * IC), values(2, IC * OC), new Float32Array(N * OC)];
  const [inp, weight, out] = [engine.alloc([N, IC]), engine.alloc([IC, OC]), engine.alloc([N, OC])];
  engine.upload(inp, a);
  engine.upload(weight, b);
  engine.linearForward({ out, inp, weight });
  await engine.download(out, product);
  for (const tensor of [inp, weight, out]) engine.release(tensor);

  let maxError = 0;
  for (let n = 0; n < N; n++) {
    for (let o = 0; o < OC; o++) {
      let expected = 0;
      for (let i = 0; i < IC; i++) expected += a[n * IC + i]! * b[i * OC + o]!;
      const error = Math.abs(product[n * OC + o]! - expected);
      maxError = Number.isFinite(error) ? Math.max(maxError, error) : Infinity;
    }
  }
  return { correct: maxError < TOLERANCE, maxError };
}
