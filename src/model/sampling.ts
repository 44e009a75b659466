/** From logits to a token: temperature, top-k, top-p. Pure; the randomness is an argument. */
import { invariant, UserError } from '../base/errors.ts';

export interface SamplingOptions {
  /** Divides the logits; 0 takes the likeliest token (greedy). */
  readonly temperature: number;
  /** Only the k likeliest tokens; 0 for all. */
  readonly topK: number;
  /** Only the likeliest tokens that together reach this probability (nucleus sampling); 1 for all. */
  readonly topP: number;
}

/**
 * The probability of every token [V] under the options: softmax(logits / temperature) over the k likeliest, of these the
 * smallest set that reaches topP, normalised. Of equal logits the lower token comes first.
 */
export function tokenProbabilities(logits: Float32Array, options: SamplingOptions): Float64Array {
  const { temperature, topK, topP } = options;
  invariant(temperature >= 0 && topK >= 0 && topP > 0 && topP <= 1, 'sampling options out of range');
  const probabilities = new Float64Array(logits.length);
  if (temperature === 0) {
    probabilities[argmax(logits)] = 1;
    return probabilities;
  }
  const highest = logits[argmax(logits)]!;
  for (let token = 0; token < logits.length; token++) {
    probabilities[token] = Math.exp((logits[token]! - highest) / temperature);
  }
  if ((topK > 0 && topK < logits.length) || topP < 1) keepLikeliest(probabilities, logits, topK, topP);
  const total = sum(probabilities);
  for (let token = 0; token < probabilities.length; token++) probabilities[token]! /= total;
  return probabilities;
}

/** The token at `uniform`, a number in [0, 1), of the distribution that the options give. */
export function sampleToken(logits: Float32Array, options: SamplingOptions, uniform: number): number {
  if (options.temperature === 0) return argmax(logits);
  const probabilities = tokenProbabilities(logits, options);
  let last = 0;
  let cumulative = 0;
  for (let token = 0; token < probabilities.length; token++) {
    if (probabilities[token] === 0) continue;
    cumulative += probabilities[token]!;
    last = token;
    if (uniform < cumulative) return token;
  }
  return last; // the sum fell short of 1 by rounding
}

/** Sets the weights of all but the likeliest tokens to 0. Ranks by logits: weights may be equal by rounding. */
function keepLikeliest(weights: Float64Array, logits: Float32Array, topK: number, topP: number): void {
  const candidates = likeliest(logits, topK > 0 ? Math.min(topK, logits.length) : logits.length);
  let total = 0;
  for (const token of candidates) total += weights[token]!;

  let kept = 0;
  let cumulative = 0;
  while (kept < candidates.length && (kept === 0 || cumulative < topP * total)) {
    cumulative += weights[candidates[kept++]!]!;
  }
  const keptWeights = Float64Array.from(candidates.subarray(0, kept), (token) => weights[token]!);
  weights.fill(0);
  for (const [i, weight] of keptWeights.entries()) weights[candidates[i]!] = weight;
}

/** The `count` likeliest tokens, likeliest first. Numbers sort much faster than tokens, so few tokens are left to compare. */
function likeliest(logits: Float32Array, count: number): Uint32Array {
  const least = count < logits.length ? logits.toSorted()[logits.length - count]! : Number.NEGATIVE_INFINITY;
  const candidates = new Uint32Array(logits.length);
  let found = 0;
  for (let token = 0; token < logits.length; token++) {
    if (logits[token]! >= least) candidates[found++] = token;
  }
  const ranked = candidates.subarray(0, found).sort((a, b) => logits[b]! - logits[a]! || a - b);
  return ranked.subarray(0, count);
}

/** The first of the largest. A UserError where there is none: weights that diverged or are damaged predict nothing. */
function argmax(logits: Float32Array): number {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    if (logits[i]! > logits[best]!) best = i;
    if (Number.isNaN(logits[i])) best = i; // no comparison leaves it again
  }
  if (!Number.isFinite(logits[best])) {
    throw new UserError(
      `the model predicts ${logits[best]} for token ${best}, expected a finite number: its training diverged or its weights are ` +
        'damaged. Use an earlier checkpoint.',
    );
  }
  return best;
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
