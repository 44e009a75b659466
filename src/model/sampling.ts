/**
 * Draws a token from logits with temperature, top-k, top-p and min-p, in this order, as `generate` of Hugging Face's transformers does. Pure; the
 * randomness is an argument.
 */
import { invariant, UserError } from '../base/errors.ts';
import { selectTop } from './topK.ts';

export interface SamplingOptions {
  /** Divides the logits; 0 selects the likeliest token (greedy). */
  readonly temperature: number;
  /** Only the k likeliest tokens; 0 for all. */
  readonly topK: number;
  /** Only the likeliest tokens that together reach this probability (nucleus sampling); 1 for all. */
  readonly topP: number;
  /** Only tokens at least this fraction as probable as the likeliest; 0 for all. Default 0. */
  readonly minP?: number | undefined;
}

/** Tokens that may be drawn, ascending, and their weights: unnormalised probabilities. */
interface Candidates {
  readonly tokens: Uint32Array;
  readonly weights: Float64Array;
}

/**
 * The probability of every token [V] under the options: softmax(logits / temperature) over the k likeliest tokens, limited to the
 * smallest set that reaches topP and to tokens of at least minP times the largest probability, normalised. If logits are equal, the lower token comes first.
 */
export function tokenProbabilities(logits: Float32Array, options: SamplingOptions): Float64Array {
  const probabilities = new Float64Array(logits.length);
  const { tokens, weights } = candidatesOf(logits, options);
  const total = sum(weights);
  for (let i = 0; i < tokens.length; i++) probabilities[tokens[i]!] = weights[i]! / total;
  return probabilities;
}

/**
 * The logits [V] after a penalty for the tokens in `seen`: negative ones times `penalty`, others divided by it (CTRL, https://arxiv.org/abs/1909.05858).
 * Above 1, these tokens become less likely. Float32 numbers, as in transformers' RepetitionPenaltyLogitsProcessor.
 * @returns a copy
 */
export function penaliseRepetition(logits: Float32Array, seen: Iterable<number>, penalty: number): Float32Array {
  const factor = Math.fround(penalty);
  const penalised = logits.slice();
  for (const token of seen) {
    const logit = logits[token]!;
    penalised[token] = logit < 0 ? logit * factor : logit / factor;
  }
  return penalised;
}

/** The token at `uniform`, a number in [0, 1), of the distribution under the options. */
export function sampleToken(logits: Float32Array, options: SamplingOptions, uniform: number): number {
  const { tokens, weights } = candidatesOf(logits, options);
  const target = uniform * sum(weights);
  let last = 0;
  let cumulative = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i] === 0) continue;
    cumulative += weights[i]!;
    last = i;
    if (target < cumulative) break;
  } // if the sum is too small because of rounding, the last
  return tokens[last]!;
}

function candidatesOf(logits: Float32Array, { temperature, topK, topP, minP = 0 }: SamplingOptions): Candidates {
  const inRange = temperature >= 0 && topK >= 0 && topP > 0 && topP <= 1 && minP >= 0 && minP <= 1;
  invariant(inRange, 'sampling options out of range');
  const likeliest = argmax(logits);
  if (temperature === 0) return { tokens: Uint32Array.of(likeliest), weights: Float64Array.of(1) };

  const tokens = selectTop(logits, topK > 0 ? topK : logits.length);
  const kept = select(logits, tokens);
  const weights = new Float64Array(tokens.length);
  for (let i = 0; i < weights.length; i++) weights[i] = Math.exp((kept[i]! - logits[likeliest]!) / temperature);
  // Ranks by logits, because rounding may make weights equal.
  const nucleus = topP === 1 ? undefined : selectTop(kept, topP * sum(weights), weights);
  const candidates = nucleus
    ? { tokens: select(tokens, nucleus), weights: select(weights, nucleus) }
    : { tokens, weights };
  return minP === 0 ? candidates : probableOf(candidates, minP);
}

/** The candidates of at least this weight: that of the likeliest token is 1. */
function probableOf({ tokens, weights }: Candidates, least: number): Candidates {
  const probable = Uint32Array.from(weights.keys()).filter((i) => weights[i]! >= least);
  return { tokens: select(tokens, probable), weights: select(weights, probable) };
}

/** The position of the first maximum. UserError if a logit is not a number, because the weights diverged or are damaged. */
function argmax(logits: Float32Array): number {
  let best = 0;
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) {
    if (logits[i]! <= largest) continue;
    best = i;
    largest = logits[i]!;
    if (Number.isNaN(largest)) break;
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
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total;
}

/** The elements at `positions`. */
function select<A extends Float32Array | Float64Array | Uint32Array>(from: A, positions: Uint32Array): A {
  const selected = from.slice(0, positions.length) as A;
  for (let i = 0; i < positions.length; i++) selected[i] = from[positions[i]!]!;
  return selected;
}
