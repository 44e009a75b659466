/** The number of tokens that a model must know. */
import { UserError } from '../base/errors.ts';
import type { Tokenizer } from './tokenizers/tokenizer.ts';

/** Number of rows of the token embedding. @throws UserError when `vocabSize` is too small for the tokenizer */
export function embeddingRows(tokenizer: Tokenizer, vocabSize = 0): number {
  if (vocabSize === 0) return tokenizer.vocabSize;
  if (vocabSize >= tokenizer.vocabSize) return vocabSize;
  throw new UserError(
    `model.vocabSize: expected 0 or at least ${tokenizer.vocabSize}, the size of the ${tokenizer.kind} tokenizer, received ${vocabSize}.`,
  );
}
