/** Distinguishes tokenizers: tokens only have a meaning together with their tokenizer. */
import { createHash } from 'node:crypto';
import type { Tokenizer } from './tokenizer.ts';

/**
 * SHA-256, in hexadecimal, of everything that defines a tokenizer: its tokenizer.json and its end-of-document token. Two tokenizers with
 * the same hash make the same tokens from every text; other files (such as tokenizer_config.json) do not count.
 */
export function tokenizerHash(tokenizer: Tokenizer): string {
  return definitionHash(tokenizer.files()['tokenizer.json'] ?? '', tokenizer.endOfText);
}

/** {@link tokenizerHash} of a tokenizer that has not been created yet, from the text of its tokenizer.json. */
export function definitionHash(tokenizerJson: string, endOfText: number | undefined): string {
  return createHash('sha256')
    .update(JSON.stringify([tokenizerJson, endOfText ?? null]))
    .digest('hex');
}
