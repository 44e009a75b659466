/** Log probabilities of tokens, before temperature, top-k and top-p. Pure. */
import { selectTop } from './topK.ts';

/** Natural logarithms of probabilities. */
export interface TokenLogprobs {
  readonly token: number;
  readonly logprob: number;
  /** The likeliest tokens, in descending order. */
  readonly top: readonly { readonly token: number; readonly logprob: number }[];
}

/** log Σ exp(logits), in float64; not finite if a logit is not a number, or infinite. */
export function logSumExp(logits: Float32Array): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) if (logits[i]! > most) most = logits[i]!;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - most);
  return most + Math.log(sum);
}

/** The log probabilities of `token` and of the `count` likeliest tokens under softmax(logits [V]). */
export function tokenLogprobs(logits: Float32Array, token: number, count: number): TokenLogprobs {
  const logDenominator = logSumExp(logits);
  const of = (index: number) => ({ token: index, logprob: logits[index]! - logDenominator });
  const likeliest = count === 0 ? [] : [...selectTop(logits, count)].sort((a, b) => logits[b]! - logits[a]! || a - b);
  return { ...of(token), top: likeliest.map(of) };
}
