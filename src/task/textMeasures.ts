/** Measures for comparing models that predict text, from the sums of their losses. */
import { meansOf, type Sums } from '../base/sums.ts';

/** The amount of text that the targets of an evaluation represent, if none of them is masked. */
export interface TextSize {
  /** Number of UTF-8 bytes. */
  readonly bytes: number;
  readonly targets: number;
}

/** The objectives whose losses are those of predicted tokens. */
const tokenObjectives: readonly string[] = ['next-token', 'packed-tokens', 'seq2seq'];

/** Whether the perplexity of this objective means something: its targets are tokens. */
export function predictsTokens(objective: string): boolean {
  return tokenObjectives.includes(objective);
}

/** The mean over the targets in nats, and e to that power. */
export function lossAndPerplexity(sums: Sums): { loss: number; perplexity: number } {
  const { loss } = meansOf(sums);
  return { loss, perplexity: Math.exp(loss) };
}

/** Comparable between tokenizers. @param bytes number of UTF-8 bytes that the targets represent */
export function bitsPerByte(sums: Sums, bytes: number): number {
  return (meansOf(sums).loss * sums.weight) / Math.LN2 / bytes;
}
