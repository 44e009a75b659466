/** What people compare of models that predict text, from the sums of their losses. */
import { meansOf, type Sums } from '../base/sums.ts';

/** How much text the targets of an evaluation stand for, if none of them is masked. */
export interface TextSize {
  /** In UTF-8. */
  readonly bytes: number;
  readonly targets: number;
}

/** Mean over the targets in nats, and e to its power. */
export function lossAndPerplexity(sums: Sums): { loss: number; perplexity: number } {
  const { loss } = meansOf(sums);
  return { loss, perplexity: Math.exp(loss) };
}

/** Compares tokenizers. @param bytes of the text that the targets stand for, in UTF-8 */
export function bitsPerByte(sums: Sums, bytes: number): number {
  return (meansOf(sums).loss * sums.weight) / Math.LN2 / bytes;
}
