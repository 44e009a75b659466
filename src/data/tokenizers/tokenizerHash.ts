/** What tells two tokenizers apart: tokens mean something only together with the tokenizer that made them. */
import { createHash } from 'node:crypto';
import type { Tokenizer } from './tokenizer.ts';

/**
 * SHA-256, hexadecimal, of what defines a tokenizer: its tokenizer.json and which token ends a document. Two tokenizers of equal
 * hash make the same tokens of every text; files that say nothing about that (tokenizer_config.json and such) don't count.
 */
export function tokenizerHash(tokenizer: Tokenizer): string {
  return definitionHash(tokenizer.files()['tokenizer.json'] ?? '', tokenizer.endOfText);
}

/** {@link tokenizerHash} of a tokenizer that is not made yet: of the text of its tokenizer.json. */
export function definitionHash(tokenizerJson: string, endOfText: number | undefined): string {
  return createHash('sha256')
    .update(JSON.stringify([tokenizerJson, endOfText ?? null]))
    .digest('hex');
}
